"""Gradient checkpointing of packed passes: the same gradients from less memory."""

import pytest
import torch
from transformers.models.t5.modeling_t5 import T5Attention

import promptscope as ps
from promptscope.engine import checkpointed
from promptscope.inference.batches import batches, encode_split
from promptscope.training.gradient import accumulate_gradient
from tests.engine.ways import CASES, EVERY, assert_exact, assert_rounded, by_packing, gradient, texts, wanted
from tests.old_t5 import needs_packed_t5
from tests.tiny_models import FAMILIES, hooked, tiny_hf_model
from tests.training.toy import toy_model, toy_task


def saved_numbers(model: ps.HookedModel, batch, prompt, where: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Return the logits, and how many numbers a forward pass keeps for the way back, apart from weights."""
    weights = {x.untyped_storage().data_ptr() for x in model.twin.parameters()}
    kept: dict[int, int] = {}

    def pack(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        logits = by_packing(model, batch, [prompt], where)
    return logits, sum(kept.values())


@pytest.mark.parametrize(("family", "name"), CASES)
def test_the_same_gradient_from_fewer_saved_numbers(family: str, name: str) -> None:
    model, batch = hooked(family, torch.float64), texts(family)
    prompt, where = EVERY[name]().bind(model), wanted(batch)
    plain, whole = saved_numbers(model, batch, prompt, where)
    expected = gradient(plain, prompt)
    with checkpointed(model):
        logits, less = saved_numbers(model, batch, prompt, where)
    got = gradient(logits, prompt)  # outside of the block: layers run again all the same
    assert_exact(logits, plain, family)  # not to the bit: its last layer runs all rows
    assert_exact(got, expected, family)
    assert less < 0.7 * whole
    assert not [m for m in model.twin.modules() if {"forward", "compute_bias"} & set(m.__dict__)]
    assert {p.config._attn_implementation for p in model.twin.modules() if hasattr(p, "config")} == {"sdpa"}


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_with_prepacked_layers(family: str) -> None:
    model, batch = hooked(family), texts(family)
    prompt, where = EVERY["v1"]().bind(model), wanted(batch)
    with ps.execution(prepacked=False):
        expected = gradient(by_packing(model, batch, [prompt], where), prompt)
    with ps.execution(prepacked=True), checkpointed(model):
        got = gradient(by_packing(model, batch, [prompt], where), prompt)
    assert_rounded(got, expected)


@needs_packed_t5
def test_position_biases_are_of_one_text_on_the_way_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, real = [], T5Attention.compute_bias

    def compute_bias(self, query_length: int, key_length: int, **options) -> torch.Tensor:
        sizes.append(query_length)
        return real(self, query_length, key_length, **options)

    monkeypatch.setattr(T5Attention, "compute_bias", compute_bias)  # before loading: a loaded model's code is checked
    model, batch = ps.load_model(tiny_hf_model("t5")), texts("t5")
    prompt = EVERY["v1"]().bind(model)
    sizes.clear()
    with ps.execution(prepacked=False), checkpointed(model):
        gradient(by_packing(model, batch, [prompt], wanted(batch)), prompt)
    assert max(sizes) == 4 + 7  # not the 27 flat rows, whose square would be the largest tensor of all


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [8, 3])
def test_training_steps(family: str, size: int) -> None:
    model = toy_model(family, torch.float64)
    prompt = EVERY["v2 untied"]().bind(model)
    every = list(batches(model, encode_split(model, prompt, toy_task(), "train", limit=8), size))
    found = []
    for checkpointing in (False, True):
        prompt.zero_grad()
        loss = accumulate_gradient(model, prompt, every, checkpointing)
        found.append((loss, torch.cat([number.grad.flatten() for number in prompt.parameters()])))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12)
    assert_exact(found[1][1], found[0][1], family)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_plain_way_has_none(family: str) -> None:
    model = toy_model(family, torch.float64)
    prompt = EVERY["v2 untied"]().bind(model)
    (batch,) = batches(model, encode_split(model, prompt, toy_task(), "train", limit=2), 2)
    with ps.execution(packed=False), pytest.raises(ps.RunError, match=r"checkpointing needs a packed pass.*accumul"):
        accumulate_gradient(model, prompt, [batch], checkpointing=True)
    assert not [m for m in model.twin.modules() if "forward" in m.__dict__]
