"""Where prompts start: each from a generator of its own, with numbers that can be written by hand."""

from functools import cache

import pytest
import torch

from promptscope.errors import PromptError
from promptscope.models import HookedModel, load_model
from promptscope.prompts import DeepPrompt, Prompt, SoftPrompt, init
from tests.batches import ragged
from tests.tiny_models import CAUSAL, hooked, tiny_hf_model
from tests.tiny_tokenizer import SPECIALS, WORDS, ids, tiny_tokenizer

LEN = len(SPECIALS) + len(WORDS)


@cache
def with_tokenizer(family: str) -> HookedModel:
    return load_model(tiny_hf_model(family), tokenizer=tiny_tokenizer())


def rows(model: HookedModel, prompt: SoftPrompt) -> list[int | None]:
    """Name the token of each of the prompt's vectors; None where it is no token's."""
    table = model.twin.get_input_embeddings().weight
    equal = (prompt.bind(model).vectors()[:, None] == table[None]).all(-1)
    return [int(row.nonzero()[0]) if row.any() else None for row in equal]


KINDS = [
    lambda seed: SoftPrompt(6, seed=seed),
    lambda seed: SoftPrompt(6, "vocab:12", seed=seed),
    lambda seed: SoftPrompt(6, "labels:good,bad", seed=seed),
    lambda seed: DeepPrompt(6, seed=seed),
    lambda seed: DeepPrompt(6, tied=True, seed=seed),
    lambda seed: DeepPrompt(6, init="vocab:12", seed=seed),
]


@pytest.mark.parametrize("make", KINDS)
def test_seeded_by_a_generator_of_its_own(make: object) -> None:
    model = with_tokenizer("gpt2")
    torch.manual_seed(1)
    first, state = make(5).bind(model), torch.get_rng_state()
    torch.manual_seed(2)
    again = make(5).bind(model)
    other = make(6).bind(model)
    assert first.content_hash() == again.content_hash() != other.content_hash()
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state), "the global generator must not be touched"
    assert first.provenance["seed"] == 5


def test_uniform_fills_plus_minus_a_half() -> None:
    model = hooked("gpt2")
    numbers = DeepPrompt(50).bind(model).keys().detach()
    assert numbers.min() >= -0.5 and numbers.max() < 0.5
    assert abs(numbers.mean()) < 0.02 and abs(numbers.std() - 12**-0.5) < 0.01  # n = 4,800
    narrow = SoftPrompt(50, init.Uniform(0.1, 0.2)).bind(model).vectors()
    assert narrow.min() >= 0.1 and narrow.max() < 0.2


@pytest.mark.parametrize("family", ["gpt2", "bert", "t5"])
def test_vocabulary_draws_from_the_most_frequent_ordinary_tokens(family: str) -> None:
    model = with_tokenizer(family)
    seen = set()
    for seed in range(12):
        drawn = rows(model, SoftPrompt(4, "vocab:6", seed=seed))
        assert len(set(drawn)) == 4, "without replacement"
        seen |= set(drawn)
    assert seen == set(range(len(SPECIALS), len(SPECIALS) + 6))


def test_vocabulary_by_counts() -> None:
    counts = [0.0] * LEN
    counts[2], counts[-1], counts[7], counts[9] = 100.0, 30.0, 20.0, 10.0  # 2 is special
    drawn = rows(with_tokenizer("gpt2"), SoftPrompt(3, init.Vocabulary(3, tuple(counts)), seed=1))
    assert set(drawn) == {LEN - 1, 7, 9}
    with pytest.raises(PromptError, match=f"one count for each of {LEN} token ids, got 2"):
        SoftPrompt(1, init.Vocabulary(3, (1.0, 2.0))).bind(with_tokenizer("gpt2"))


def test_vocabulary_without_a_tokenizer_takes_all_ids() -> None:
    assert set(rows(hooked("gpt2"), SoftPrompt(5, "vocab:5"))) == set(range(5))


def test_text_repeats() -> None:
    model = with_tokenizer("llama")
    assert rows(model, SoftPrompt(7, "text:the film is")) == [*ids("the film is"), *ids("the film is"), *ids("the")]
    assert rows(model, SoftPrompt(3, "text:good")) == ids("good good good")
    assert rows(model, SoftPrompt(2, "text:the film is")) == ids("the film")


def test_labels_average_their_tokens_and_fill_from_the_vocabulary() -> None:
    model = with_tokenizer("gpt2")
    prompt = SoftPrompt(4, init.Labels(("very good", "bad"), n=6)).bind(model)
    table = model.twin.get_input_embeddings().weight
    torch.testing.assert_close(prompt.vectors()[0], table[ids("very good")].mean(0))
    torch.testing.assert_close(prompt.vectors()[1], table[ids("bad")[0]])
    assert set(rows(model, prompt)[2:]) <= set(range(len(SPECIALS), len(SPECIALS) + 6))
    exact = SoftPrompt(2, "labels:good,bad")
    assert rows(model, exact) == ids("good bad")


@pytest.mark.parametrize("make", [lambda **a: SoftPrompt(4, **a), lambda **a: DeepPrompt(4, **a)])
def test_from_another_prompt(make: object) -> None:
    model = hooked("llama")
    source = make(seed=3).bind(model)
    copy = make(init=init.FromPrompt(source)).bind(model)
    for mine, theirs in zip(copy.parameters(), source.parameters(), strict=True):
        assert torch.equal(mine, theirs) and mine.data_ptr() != theirs.data_ptr()
    assert source.content_hash()[:12] in copy.provenance["init"]


@pytest.mark.parametrize("family", CAUSAL)
def test_a_deep_prompt_of_a_text_is_the_input_prompt_of_that_text_and_the_text_itself(family: str) -> None:
    """Closed form: keys and values of "the film is" in front of a text are what the text sees after "the film is"."""
    model, batch = with_tokenizer(family), ragged(family)
    start = "text:the film is very good"
    soft, deep = SoftPrompt(5, start), DeepPrompt(5, init=start)
    from_soft = DeepPrompt(5, init=init.FromPrompt(soft))
    written = torch.tensor([ids("the film is very good")])
    for row in batch.rows:
        want = model.logits(torch.cat([written, row[None]], dim=1))[:, 5:]
        for prompt in (soft, deep, from_soft):
            for via in ("hooks", "prefix"):
                got = model.logits(row[None], prompt=prompt, via=via)  # type: ignore[arg-type]
                torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


def test_layers_of_a_deep_prompt_of_a_text_are_those_of_the_model() -> None:
    model = with_tokenizer("gpt2")
    whole = DeepPrompt(3, init="text:the film is").bind(model)
    some = DeepPrompt(3, init="text:the film is", layers=[0, 2]).bind(model)
    assert torch.equal(some.keys(), whole.keys()[[0, 2]]) and torch.equal(some.values(), whole.values()[[0, 2]])


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_deep_token_initialisation_on_other_kinds(family: str) -> None:
    model = with_tokenizer(family)
    prompt = DeepPrompt(3, init="text:the film is").bind(model)
    assert all(number.std() > 0 and number.isfinite().all() for number in prompt.parameters())
    if family == "bert":  # the first layer's keys depend on the tokens alone: W_k x + b_k
        hf = model.twin
        with torch.no_grad():
            embedded = hf.bert.embeddings(torch.tensor([ids("the film is")]))
            want = hf.bert.encoder.layer[0].attention.self.key(embedded)[0]
        torch.testing.assert_close(prompt.keys()[0], want, rtol=0, atol=1e-6)
        return
    kept: list[torch.Tensor] = []
    embeds = model.embed(torch.tensor([ids("the film is")]))
    projection = model.twin.decoder.block[2].layer[0].SelfAttention.v
    with torch.no_grad(), projection.register_forward_hook(lambda module, inputs, output: kept.append(output[0])):
        model.twin(inputs_embeds=embeds, decoder_inputs_embeds=embeds)
    torch.testing.assert_close(prompt.values("decoder")[2], kept[0], rtol=0, atol=1e-5)


def test_tied_prompt_of_tokens() -> None:
    prompt = DeepPrompt(2, tied=True, init="text:the film").bind(with_tokenizer("gpt2"))
    want = with_tokenizer("gpt2").embed(torch.tensor(ids("the film")))
    assert torch.equal(prompt.keys(), want.expand(3, -1, -1)) and prompt.keys() is prompt.values()
    with pytest.raises(PromptError, match=r"32 numbers, keys and values of .* 16 .grouped-query attention"):
        DeepPrompt(2, tied=True, init="text:the film").bind(with_tokenizer("llama"))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (SoftPrompt(4, "text:  "), "gives no tokens"),
        (SoftPrompt(7, "vocab:6"), "7 positions need 7 different tokens, got 6"),
        (SoftPrompt(1, "labels:good,bad"), "each of 2 labels, got 1 prompt positions"),
        (SoftPrompt(2, "labels"), "has no words"),
        (SoftPrompt(3, init.FromPrompt(SoftPrompt(2))), "must start from an input-level prompt of the same length"),
        (SoftPrompt(2, init.FromPrompt(DeepPrompt(2))), "must start from an input-level prompt"),
        (
            DeepPrompt(3, init=init.FromPrompt(SoftPrompt(2))),
            "must start from an input-level prompt of the same length",
        ),
        (
            DeepPrompt(2, init=init.FromPrompt(DeepPrompt(2, tied=True))),
            r"\(length, tied, layers, parts\) must be equal",
        ),
        (
            DeepPrompt(2, init=init.FromPrompt(DeepPrompt(2, layers=[1]))),
            r"\(length, tied, layers, parts\) must be equal",
        ),
    ],
)
def test_impossible_starts(prompt: Prompt, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        prompt.bind(with_tokenizer("gpt2"))
    assert not prompt.is_bound, "a failed bind must not leave half a prompt"


@pytest.mark.parametrize("spelling", ["unifrom", "vocab:many", "text:", "uniform:2", ""])
def test_unknown_spelling(spelling: str) -> None:
    with pytest.raises(PromptError, match=f"unknown initialisation '{spelling}'.*Expected 'uniform'"):
        SoftPrompt(2, spelling)
    with pytest.raises(PromptError, match="Did you mean 'uniform'"):
        SoftPrompt(2, "unifrom")
