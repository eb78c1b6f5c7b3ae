"""What the fast path computes, in counts: rows through linear layers, rows and columns of logits, forward passes."""

from collections.abc import Iterator

import pytest
import torch

import promptscope as ps
from promptscope.engine import share
from promptscope.inference.batches import batches, encode_split, share_over
from promptscope.inference.scoring import word_logits
from promptscope.tasks import Batch
from promptscope.training.gradient import accumulate_gradient, accumulate_gradients
from tests.engine.counting import counting
from tests.engine.ways import EVERY, PROMPTS, K, logits_where, texts, wanted
from tests.old_t5 import needs_packed_t5
from tests.tiny_models import CAUSAL, hooked
from tests.training.toy import LONG_WORD, toy_model, toy_task, word_id, writing_task

DEEP = [name for name in PROMPTS if name != "v1"]
REAL = 7 + 3 + 5  # tokens of the ragged batch
BOS = 1  # the token that all texts of the toy task begin with: a template of length one


@pytest.fixture(autouse=True)
def as_it_is() -> Iterator[None]:
    """Spare measuring whether prepacking pays; counts do not depend on it."""
    with ps.execution(prepacked=False):
        yield


def toy_batches(family: str, prompt: ps.Prompt, size: int) -> tuple[list[Batch], list[int]]:
    """Return the train split in batches, and their numbers of tokens that a target can see."""
    model = toy_model(family)
    examples = encode_split(model, prompt, toy_task(), "train")
    every = list(batches(model, examples, size))
    return every, [needed(batch, family) for batch in every]


def needed(batch: Batch, family: str) -> int:
    """Count real tokens; on causal models the end token, behind the last target position, need not run."""
    real = int(batch.attention_mask.sum())
    return real - len(batch) if family in CAUSAL else real


@pytest.mark.parametrize("family", CAUSAL)
def test_prompt_rows_once_and_no_padding(family: str) -> None:
    model, batch = hooked(family), texts(family)
    where, mask = wanted(batch), batch.attention_mask
    for name, expected in (("v1", K + REAL), *((name, REAL) for name in DEEP), ("", REAL)):
        prompt = [EVERY[name]()] if name else []
        with counting(model) as counts:
            logits_where(model, where, batch.input_ids, mask, prompt)
        assert counts.body == [expected], name
        assert counts.last_feed_forward == counts.logits == [int(where.sum())], name


def test_on_encoders_prompt_rows_go_with_every_text_and_deep_ones_nowhere() -> None:
    model, batch = hooked("bert"), texts("bert")
    where = wanted(batch)
    for name, expected in (("v1", 3 * K + REAL), *((name, REAL) for name in DEEP), ("", REAL)):
        with counting(model) as counts:
            logits_where(model, where, batch.input_ids, batch.attention_mask, [EVERY[name]()] if name else [])
        assert counts.body == [expected], name
        assert counts.logits == counts.rows["cls.predictions.transform.dense"] == [int(where.sum())], name
        assert counts.last_feed_forward == counts.logits, name


@needs_packed_t5
def test_on_encoder_decoders_targets_end_where_nobody_reads_on() -> None:
    model, batch = hooked("t5"), texts("t5")
    where = wanted(batch)
    targets = 4 + 2 + 3  # the last wanted position of each
    for name in ("", *EVERY):
        with counting(model) as counts:
            prompt = [EVERY[name]()] if name else []
            logits_where(model, where, batch.input_ids, batch.attention_mask, prompt, None, batch.decoder_input_ids)
        sources = 3 * K + REAL if name == "v1" else REAL
        assert counts.through("encoder.block") == [sources], name
        assert counts.through("EncDecAttention.k") == counts.through("EncDecAttention.v") == [sources], name
        for part in ("decoder.block.0.layer.0", "EncDecAttention.q", "EncDecAttention.o", "decoder.block.2.layer.2"):
            assert counts.through(part) == [targets], name
        assert counts.logits == [targets], name


@pytest.mark.parametrize("name", ["v1", "v2 untied", "v2 in some layers"])
@pytest.mark.parametrize("family", CAUSAL)
def test_a_training_step_is_one_forward(family: str, name: str) -> None:
    model, prompt = toy_model(family), EVERY[name]().bind(toy_model(family))
    every, (real,) = toy_batches(family, prompt, 10)
    with counting(model) as counts:
        accumulate_gradient(model, prompt, every)
    own = K if name == "v1" else 0
    assert counts.body == [own + BOS + real - 10 * BOS]
    assert counts.logits == [10 * 2]  # label and end


@pytest.mark.parametrize("family", CAUSAL)
def test_a_common_beginning_runs_once(family: str) -> None:
    model, batch = hooked(family), texts(family)
    ids, where = batch.input_ids.clone(), torch.zeros_like(batch.attention_mask, dtype=torch.bool)
    ids[:, :2] = torch.tensor([11, 12])
    where[torch.arange(3), batch.attention_mask.sum(1) - 1] = True
    for name, own in (("v1", K), ("v2 untied", 0), ("v2 in some layers", 0), ("", 0)):
        with counting(model) as counts:
            logits_where(model, where, ids, batch.attention_mask, [EVERY[name]()] if name else [])
        assert counts.body == [own + 2 + REAL - 3 * 2], name
        assert counts.logits == [3], name


@pytest.mark.parametrize("family", CAUSAL)
def test_each_prompt_runs_once_for_all_its_texts(family: str) -> None:
    model, batch, which = hooked(family), texts(family), torch.tensor([1, 0, 1])
    for name in ("v1", "v2 untied"):
        prompts = [EVERY[name](seed) for seed in range(2)]
        with counting(model) as counts:
            logits_where(model, wanted(batch), batch.input_ids, batch.attention_mask, prompts, which)
        assert counts.body == [(2 * K if name == "v1" else 0) + REAL]


def test_accumulation_computes_the_prompt_once() -> None:
    for name, own in (("v1", K), ("v2 untied", 0)):
        model, prompt = toy_model("gpt2"), EVERY[name]().bind(toy_model("gpt2"))
        every, real = toy_batches("gpt2", prompt, 3)
        with counting(model) as counts:
            accumulate_gradient(model, prompt, every)
        assert counts.body == [own + BOS, *(n - len(b) * BOS for n, b in zip(real, every, strict=True))], name
        assert counts.logits == [2 * len(batch) for batch in every]


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_accumulation_where_nothing_can_be_shared(family: str) -> None:
    model, prompt = toy_model(family), EVERY["v1"]().bind(toy_model(family))
    every, real = toy_batches(family, prompt, 3)
    with counting(model) as counts:
        accumulate_gradient(model, prompt, every)
    expected = [n + K * len(batch) for n, batch in zip(real, every, strict=True)]
    assert (counts.body if family == "bert" else counts.through("encoder.block")) == expected


def test_a_grid_is_one_forward() -> None:
    model = toy_model("gpt2")
    for name, own in (("v1", K), ("v2 untied", 0)):
        prompts = [EVERY[name](seed).bind(model) for seed in range(5)]
        every, real = toy_batches("gpt2", prompts[0], 5)
        portions = [(i, every[i % 2]) for i in range(5)]
        with counting(model) as counts:
            accumulate_gradients(model, prompts, [portions])
        texts_of_all = sum(real[i % 2] - 5 * BOS for i in range(5))
        assert counts.body == [5 * (own + BOS) + texts_of_all], name
        assert counts.logits == [5 * 5 * 2]


def test_a_grid_in_several_passes_computes_every_prompt_once() -> None:
    model, prompts = toy_model("gpt2"), [EVERY["v1"](seed).bind(toy_model("gpt2")) for seed in range(3)]
    every, real = toy_batches("gpt2", prompts[0], 5)
    with counting(model) as counts:
        accumulate_gradients(model, prompts, [[(0, every[0]), (1, every[0])], [(1, every[1]), (2, every[1])]])
    assert counts.body == [3 * (K + BOS), 2 * (real[0] - 5 * BOS), 2 * (real[1] - 5 * BOS)]


@pytest.mark.parametrize(("name", "own"), [("v1", K), ("v2 untied", 0), ("", 0)])
def test_evaluation_computes_the_prompt_once(name: str, own: int) -> None:
    model, prompt = toy_model("gpt2"), EVERY[name]().bind(toy_model("gpt2")) if name else None
    _, real = toy_batches("gpt2", EVERY["v1"]().bind(model), 3)
    with counting(model) as counts:
        ps.evaluate(model, prompt, toy_task(), split="train", batch_size=3, progress=False)
    assert counts.body == [own + BOS, *(n - size * BOS for n, size in zip(real, (3, 3, 3, 1), strict=True))]
    assert counts.logits == [6, 6, 6, 2]  # label and end: accuracy and loss from one pass


@pytest.mark.parametrize(("name", "own"), [("v1", K), ("v2 untied", 0), ("", 0)])
def test_words_of_several_tokens_are_read_behind_texts_that_are_read_once(name: str, own: int) -> None:
    model, prompt = toy_model("gpt2"), EVERY[name]().bind(toy_model("gpt2")) if name else None
    examples = encode_split(model, prompt, toy_task(LONG_WORD), "test")
    with counting(model) as counts:
        ps.score_labels(model, prompt, toy_task(LONG_WORD), batch_size=5, progress=False)
    read = [sum(example.label_start - BOS for example in examples[at : at + 5]) for at in (0, 5)]
    long = 5 * 2  # "very very" of the one label of three tokens; "dull" is one token, and is read by nobody
    assert counts.body == [own + BOS, read[0], long, read[1], long]
    assert counts.logits == [5, long, 5, long]


@needs_packed_t5
def test_words_of_several_tokens_encode_once() -> None:
    model, prompt = toy_model("t5"), EVERY["v1"]().bind(toy_model("t5"))
    examples = encode_split(model, prompt, toy_task(LONG_WORD), "test")
    with counting(model) as counts:
        ps.score_labels(model, prompt, toy_task(LONG_WORD), batch_size=5, progress=False)
    sources = [sum(len(example.input_ids) + K for example in examples[at : at + 5]) for at in (0, 5)]
    assert counts.through("encoder.block") == sources
    # keys and values of the sources once; the one row later is given up, because modules want some input
    assert counts.through("EncDecAttention.k") == [sources[0], 1, sources[1], 1]
    assert counts.through("decoder.block.0.layer.0") == [5, 10, 5, 10]


@pytest.mark.parametrize(("name", "own"), [("v1", K), ("v2 in some layers", 0), ("", 0)])
@pytest.mark.parametrize("family", CAUSAL)
def test_generation_reads_texts_once_then_a_row_for_each_new_token(family: str, name: str, own: int) -> None:
    model, batch = hooked(family), texts(family)
    with counting(model) as counts:
        ps.generate(model, EVERY[name]() if name else None, batch.input_ids, batch.attention_mask, max_new_tokens=4)
    assert counts.body == [own, REAL, 3, 3, 3][own == 0 :]
    assert counts.logits == [3, 3, 3, 3]


@needs_packed_t5
def test_generation_encodes_once() -> None:
    model, batch = hooked("t5"), texts("t5")
    with counting(model) as counts:
        ps.generate(model, EVERY["v1"](), batch.input_ids, batch.attention_mask, max_new_tokens=4)
    assert counts.through("encoder.block") == [3 * K + REAL]
    assert counts.through("EncDecAttention.v") == [3 * K + REAL, 1, 1, 1]
    assert counts.through("decoder.block.1.layer.2") == counts.logits == [3, 3, 3, 3]


def test_generated_predictions_of_several_batches_compute_the_prompt_once() -> None:
    model, prompt = toy_model("gpt2"), EVERY["v1"]().bind(toy_model("gpt2"))
    with counting(model) as counts:
        ps.predict(model, prompt, writing_task(), batch_size=2, max_new_tokens=1, progress=False)
    sources = encode_split(model, prompt, writing_task(), "test", with_label=False)
    lengths = [len(example.input_ids) - BOS for example in sources]
    assert counts.body == [K + BOS, lengths[0] + lengths[1], lengths[2]]


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox", "bert", "t5"])
def test_only_the_words_columns_are_multiplied(family: str) -> None:
    model, prompt = toy_model(family), EVERY["v1"]().bind(toy_model(family))
    (batch,), _ = toy_batches(family, prompt, 10)
    tokens = [word_id(word) for word in ("negative", "positive", "dull")]
    with counting(model) as counts, torch.no_grad():
        word_logits(model, batch, tokens, prompt)
    assert counts.columns == [3]


def test_what_is_shared_holds_the_prompt_and_the_common_beginning() -> None:
    model, prompt = toy_model("gpt2"), EVERY["v1"]().bind(toy_model("gpt2"))
    examples = encode_split(model, prompt, toy_task(), "test")
    shared = share_over(model, prompt, examples)
    assert (shared.p, shared.s, shared.n_template) == (K + BOS, 0, BOS)
    assert share(model, [prompt]).p == K
    some_layers = share_over(model, EVERY["v2 in some layers"]().bind(model), examples)
    assert (some_layers.p, some_layers.n_template) == (K, 0)  # other layers would see K positions less
    assert share_over(toy_model("bert"), prompt, examples) is None
