"""Pairs on BERT: token types as its tokenizer gives them, whichever way the model runs."""

import jaxtyping
import pytest
import torch
from tokenizers.processors import TemplateProcessing

import promptscope as ps
from promptscope.probes.plan import data_hash
from tests.tasks.conftest import bert as bert_tokenizer
from tests.tiny_models import tiny_hf_model

ROWS = [
    {"text1": "the movie was good", "text2": "a bad film", "label": "positive"},
    {"text1": "the plot", "text2": "the acting was great and good", "label": "negative"},
]


@pytest.fixture(scope="module")
def tokenizer():
    made = bert_tokenizer.__wrapped__()
    cls, sep = ("[CLS]", made.cls_token_id), ("[SEP]", made.sep_token_id)
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[cls, sep]
    )
    return made


@pytest.fixture(scope="module")
def plain():
    return tiny_hf_model("bert", vocab=300)


@pytest.fixture(scope="module")
def model(plain, tokenizer):
    return ps.load_model(plain, tokenizer)


@pytest.fixture(scope="module")
def task():
    return ps.Task.from_records(ROWS, "pair", {"positive": "positive", "negative": "negative"})


def encoded(tokenizer, side="right"):
    texts = [[row["text1"] for row in ROWS], [row["text2"] for row in ROWS]]
    how = {"return_tensors": "pt", "padding": True, "padding_side": side}
    return tokenizer(*texts, return_token_type_ids=True, **how)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("via", ["auto", "hooks"])
def test_what_the_tokenizer_gives_goes_in_as_it_is(model, plain, tokenizer, side, via) -> None:
    parts = encoded(tokenizer, side)
    assert parts["token_type_ids"].any()
    found = model.logits(**parts, via=via)
    for row, mask in enumerate(parts["attention_mask"].bool()):
        alone = {name: value[row, mask][None] for name, value in parts.items()}
        torch.testing.assert_close(found[row, mask], plain(**alone).logits[0], atol=1e-5, rtol=1e-4)
    without = model.logits(parts["input_ids"], parts["attention_mask"], via=via)
    assert (found - without).abs().max() > 0.01


def test_templates_give_the_tokenizers_own_types(model, task, tokenizer) -> None:
    for example, row in zip(task.encode(tokenizer, "masked", "train"), ROWS, strict=True):
        pair = tokenizer(row["text1"], row["text2"], return_token_type_ids=True)
        n = len(pair["input_ids"])
        assert example.input_ids[:n] == pair["input_ids"]
        assert example.token_types == [*pair["token_type_ids"], 1]  # {mask} follows the second text
    single = ps.Task.from_records([{"text": "good", "label": "a"}], "single", "labels", "accuracy")
    words = ps.Task.from_records(
        [{"text": "good", "label": "positive"}], "single", {"positive": "positive", "negative": "negative"}
    )
    assert words.encode(tokenizer, "masked", "train")[0].token_types is None
    assert single.encode(tokenizer, "causal", "train")[0].token_types is None


LARGE = ps.init.Uniform(-2.0, 2.0)  # so that what its positions have for types moves the scores


@pytest.mark.parametrize(
    "prompt", [None, ps.SoftPrompt(3, init=LARGE), ps.DeepPrompt(3, init=LARGE)], ids=["none", "v1", "v2"]
)
def test_scores_are_those_of_the_types_however_the_model_runs(model, plain, task, tokenizer, prompt) -> None:
    prompt = None if prompt is None else prompt.bind(model)
    packed = ps.score_labels(model, prompt, task, split="train", progress=False)
    with ps.execution(packed=False):
        padded = ps.score_labels(model, prompt, task, split="train", progress=False)
    torch.testing.assert_close(packed, padded, atol=1e-5, rtol=2e-6)
    if prompt is None:
        words = [tokenizer.convert_tokens_to_ids(word) for word in ("positive", "negative")]
        for example, scores in zip(task.encode(tokenizer, "masked", "train"), packed, strict=True):
            ids, types = torch.tensor([example.input_ids]), torch.tensor([example.token_types])
            logits = plain(input_ids=ids, token_type_ids=types).logits[0, example.label_start]
            torch.testing.assert_close(scores, logits.log_softmax(-1)[words], atol=1e-5, rtol=1e-4)


def test_types_are_part_of_what_captures_are_kept_by(model, task, tokenizer) -> None:
    from dataclasses import replace

    examples = list(task.encode(tokenizer, "masked", "train", with_label=False))
    assert data_hash(examples) != data_hash([replace(example, token_types=None) for example in examples])


def test_types_that_cannot_act_are_refused() -> None:
    causal = ps.load_model("embedded-causal")
    ids = torch.tensor([[5, 6]])
    torch.testing.assert_close(causal.logits(ids, token_type_ids=torch.zeros_like(ids)), causal.logits(ids))
    with pytest.raises(ps.ModelError, match="token_type_ids are for masked language models"):
        causal.logits(ids, token_type_ids=torch.ones_like(ids))


def test_types_of_another_shape_or_number(model, monkeypatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the checks of tests would come first
    ids = torch.tensor([[5, 6]])
    with pytest.raises(ps.ModelError, match="of the shape of input_ids"):
        model.logits(ids, token_type_ids=torch.ones(1, 3).long())
    with pytest.raises(ps.ModelError, match=r"must lie in 0..1"):
        model.logits(ids, token_type_ids=2 * torch.ones(1, 2).long())
