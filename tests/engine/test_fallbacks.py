"""What cannot run packed runs plainly, says so once, and gives the right numbers."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BloomConfig, BloomForCausalLM

import promptscope as ps
from promptscope.engine import attention, both_ways, causal, choice, is_packed
from promptscope.models import Hook, HookedModel, Placement, Prefix
from promptscope.models.attending import current_attention
from promptscope.prompts import Prompt
from tests.batches import Ragged
from tests.engine.ways import EVERY, assert_rounded, by_hooks, logits_where, texts, wanted
from tests.tiny_models import FAMILIES, hooked, tiny_hf_model


@pytest.fixture(autouse=True)
def as_it_is() -> Iterator[None]:
    """Spare measuring whether prepacking pays."""
    with ps.execution(prepacked=False):
        yield


def run(model: HookedModel, batch: Ragged, prompts: list[Prompt]) -> Tensor:
    return logits_where(
        model, wanted(batch), batch.input_ids, batch.attention_mask, prompts, None, batch.decoder_input_ids
    )


def warned(what: Callable[[], object]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        what()
    assert all(issubclass(one.category, ps.PackingWarning) for one in caught)
    return [str(one.message) for one in caught]


def assert_plain_and_right(model: HookedModel, prompt: Prompt, reason: str, family: str) -> None:
    """Run twice: one warning in all, and the numbers of the hooked bridge."""
    batch = texts(family)
    expected = by_hooks(model, batch, prompt, wanted(batch))
    results: list[Tensor] = []
    messages = warned(lambda: results.extend(run(model, batch, [prompt]) for _ in range(2)))
    assert len(messages) == 1
    assert reason in messages[0]
    for got in results:
        assert_rounded(got, expected)
    assert warned(lambda: ps.PackingWarning) == []


@pytest.mark.parametrize("prompt", ["v1", "v2 untied", "v2 in some layers"])
def test_attention_that_the_packed_form_does_not_know(prompt: str) -> None:
    """BLOOM makes its attention itself, with ALiBi: no pass can replace it."""
    config = BloomConfig(vocab_size=200, hidden_size=32, n_layer=3, n_head=4)
    model = ps.load_model(BloomForCausalLM(config).eval())
    assert_plain_and_right(model, EVERY[prompt](), "computes attention in its own way", "gpt2")


def test_attention_in_float32_on_the_side_runs_plainly() -> None:
    plain = tiny_hf_model("gpt2")
    plain.config.reorder_and_upcast_attn = True
    model = ps.load_model(plain)
    assert_plain_and_right(model, EVERY["v2 untied"](), "reorder_and_upcast_attn", "gpt2")


class Doubled(ps.Prompt):
    """A prompt of someone's own, which says where its vectors go and nothing else."""

    def settings(self) -> dict[str, Any]:
        return {"length": self.length}

    def place(self, model: HookedModel) -> Placement:
        return Placement(self.length, 2 * self.bind(model).vectors)

    def _create(self, model: HookedModel, generator: torch.Generator) -> None:
        self.vectors = torch.nn.Parameter(torch.randn(self.length, model.shape.d_model, generator=generator))

    def _check_fit(self, model: HookedModel) -> None:
        pass


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_of_someones_own_runs_every_way(family: str) -> None:
    model, batch = hooked(family), texts(family)
    prompt = Doubled(3).bind(model)
    twice = ps.SoftPrompt(3).bind(model)
    with torch.no_grad():
        twice.embedding.copy_(2 * prompt.vectors)
    expected = by_hooks(model, batch, twice, wanted(batch))
    assert is_packed(model, [prompt])
    assert_rounded(by_hooks(model, batch, prompt, wanted(batch)), expected)
    assert_rounded(run(model, batch, [prompt]), expected)
    with ps.execution(packed=False):
        assert_rounded(run(model, batch, [prompt]), expected)
    if family != "bert":
        ids, mask = batch.input_ids, batch.attention_mask
        assert ps.generate(model, prompt, ids, mask, max_new_tokens=3) == ps.generate(
            model, twice, ids, mask, max_new_tokens=3
        )


def test_hooks_that_do_not_follow_from_the_placement_are_refused() -> None:
    with pytest.raises(ps.PromptError, match=r"Shift defines hooks\(\), which follow from place"):

        class Shift(ps.SoftPrompt):
            def hooks(self, model: HookedModel) -> list[Hook]:
                return [("embed.hook_out", lambda x, hook: x + 1)]


def forgets_causality(query: Tensor, key: Tensor, value: Tensor, how: Any, real: Tensor | None = None) -> Tensor:
    return attention.attend(query, key, value, None, how)


def forgets_padding(keys: Any, width: int, bias: Tensor | None, unseen: Tensor | None) -> Tensor | None:
    return bias


def crashes(*arguments: Any, **options: Any) -> Tensor:
    raise ValueError("no such rows")


WRONG = [(family, causal, "_causal", forgets_causality, "logits differ") for family in ("gpt2", "llama", "gpt_neox")]
WRONG += [(family, both_ways, "_see", forgets_padding, "logits differ") for family in ("bert", "t5")]
WRONG += [("gpt2", causal, "_causal", crashes, "flat rows (no prompt: ValueError: no such rows)")]


@pytest.mark.parametrize(("family", "module", "name", "wrong", "reason"), WRONG)
def test_wrong_attention_is_caught_when_a_model_runs_first(
    family: str, module: Any, name: str, wrong: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ps.load_model(tiny_hf_model(family))
    monkeypatch.setattr(module, name, wrong)
    assert_plain_and_right(model, EVERY["v1"](), reason, family)
    assert model.twin.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(("dtype", "packed"), [(torch.bfloat16, True), (torch.float32, False), (torch.float64, False)])
def test_the_comparison_knows_how_the_models_type_rounds(
    dtype: torch.dtype, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, real = ps.load_model(tiny_hf_model("gpt2", dtype)), choice.packed_logits
    monkeypatch.setattr(choice, "packed_logits", lambda *args, **options: real(*args, **options) * 1.01)
    found: list[bool] = []
    messages = warned(lambda: found.append(is_packed(model)))
    assert found == [packed]
    assert len(messages) == (not packed)


def test_what_is_asked_for_warns_nobody() -> None:
    model = ps.load_model(tiny_hf_model("gpt2"))
    model.twin.config.alibi = True
    with ps.execution(packed=False):
        assert not is_packed(model)
        assert warned(lambda: run(model, texts("gpt2"), [])) == []
    with ps.execution(packed=False), ps.execution(prepacked=False):
        assert not is_packed(hooked("gpt2"))
        with ps.execution(packed=True):
            assert is_packed(hooked("gpt2"))


# --- which attention a model runs is its own affair again afterwards ---------------------------------


def implementations(model: HookedModel) -> set[str]:
    return {part.config._attn_implementation for part in model.twin.modules() if hasattr(part, "config")}


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_models_own_attention_comes_back(family: str, implementation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = ps.load_model(tiny_hf_model(family)), texts(family)
    model.twin.set_attn_implementation(implementation)
    seen: list[set[str]] = []
    handle = model.twin.get_output_embeddings().register_forward_hook(lambda *_: seen.append(implementations(model)))
    model.watch()  # it looks only
    run(model, batch, [EVERY["v1"]()])
    handle.remove()
    assert "promptscope_none" in set.union(*seen) or family in ("gpt2", "llama", "gpt_neox", "bert")
    assert implementations(model) == {implementation}
    if family != "bert":
        ps.generate(model, EVERY["v2 untied"](), batch.input_ids, batch.attention_mask, max_new_tokens=2)
        assert implementations(model) == {implementation}
    monkeypatch.setattr({"bert": both_ways, "t5": both_ways}.get(family, causal), "attend", crashes)
    with pytest.raises(ValueError, match="no such rows"):
        run(model, batch, [])
    assert implementations(model) == {implementation}
    assert current_attention() is None
    assert not [m for m in model.twin.modules() if {"forward", "compute_bias"} & set(m.__dict__)]
    monkeypatch.undo()
    assert_rounded(run(model, batch, []), by_hooks(model, batch, None, wanted(batch)))


def test_a_generator_that_is_left_half_way_holds_nothing() -> None:
    model, batch = ps.load_model(tiny_hf_model("gpt2")), texts("gpt2")

    def steps() -> Iterator[Tensor]:
        for _ in range(3):
            yield run(model, batch, [EVERY["v1"]()])

    going = steps()
    first = next(going)
    assert implementations(model) == {"sdpa"}
    with ps.execution(packed=False):
        plain = next(going)
    going.close()
    assert implementations(model) == {"sdpa"}
    assert_rounded(first, plain)


def test_t5_keeps_its_position_bias() -> None:
    model, batch = hooked("t5"), texts("t5")
    first = model.twin.encoder.block[0].layer[0].SelfAttention
    before = first.compute_bias(5, 5)
    run(model, batch, [EVERY["v2 untied"]()])
    assert torch.equal(first.compute_bias(5, 5), before)
    assert model.facts.parts[first] == ("encoder", 0)


def test_prefixes_of_some_layers_come_back_too() -> None:
    model, batch = hooked("gpt2"), texts("gpt2")
    with ps.execution(packed=False):
        run(model, batch, [EVERY["v2 in some layers"]()])
    assert implementations(model) == {"sdpa"}
    assert isinstance(EVERY["v2 in some layers"]().bind(model).prefix(model), Prefix)
