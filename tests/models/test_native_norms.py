"""Norms run as the model's own when nobody looks inside them, and step by step when somebody does."""

import contextlib
import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformer_lens.model_bridge.generalized_components.normalization import NormalizationBridge

from promptscope.models import HookedModel
from tests.tiny_models import FAMILIES, hooked

_IDS = torch.arange(5, 11)[None]


def _logits(model: HookedModel, hooks: list[Any] | None = None) -> Tensor:
    decoder_ids = _IDS[:, :2] if model.family.kind == "seq2seq" else None
    return model.forward_hooked(_IDS, decoder_input_ids=decoder_ids, hooks=hooks or [])


def _points(model: HookedModel, end: str) -> list[str]:
    return [name for name in model.bridge.hook_dict if name.endswith(end)]


@pytest.mark.parametrize("family", FAMILIES)
def test_without_hooks_no_norm_is_computed_step_by_step(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = hooked(family)
    before = _logits(model)

    def step_by_step(self: object, x: Tensor) -> Tensor:
        raise AssertionError("a norm ran step by step")

    for name in ("_python_norm_forward", "_hf_autograd_forward_with_hooks"):
        monkeypatch.setattr(NormalizationBridge, name, step_by_step)
    assert torch.equal(_logits(model), before)
    with pytest.raises(AssertionError, match="step by step"):
        _logits(model, [(_points(model, "hook_scale")[0], lambda x, hook: None)])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("end", ["hook_scale", "hook_normalized"])
def test_watching_changes_rounding_at_most_and_editing_acts(family: str, end: str) -> None:
    model = hooked(family)
    plain, seen = _logits(model), []
    points = _points(model, end)
    watched = _logits(model, [(name, lambda x, hook: seen.append(hook.name)) for name in points])
    assert sorted(seen) == sorted(points) and len(points) >= 3
    torch.testing.assert_close(watched, plain, rtol=0, atol=2e-6)
    # Where TransformerLens itself runs Hugging Face's norm, it says that an edit leaves its numerics.
    says_so = model.bridge.get_submodule(points[0].rpartition(".")[0]).use_native_layernorm_autograd
    with pytest.warns(UserWarning, match="edited hook_scale/hook_norm") if says_so else contextlib.nullcontext():
        edited = _logits(model, [(points[0], lambda x, hook: 2 * x)])
    assert (edited - plain).abs().max() > 1e-3


def test_whoever_hooks_the_steps_by_another_way_sees_them() -> None:
    bridge = hooked("gpt2").bridge
    point = bridge.get_submodule(_points(hooked("gpt2"), "ln1.hook_scale")[0])
    seen: list[str] = []
    handle = point.register_forward_hook(lambda module, inputs, output: seen.append("PyTorch's own"))
    _logits(hooked("gpt2"))
    handle.remove()
    point.add_hook(lambda x, hook: seen.append("permanent"), is_permanent=True)
    _logits(hooked("gpt2"))
    point.remove_hooks(including_permanent=True)
    _logits(hooked("gpt2"))
    assert seen == ["PyTorch's own", "permanent"]


def test_gradients_of_the_steps_can_be_seen() -> None:
    model, seen = hooked("gpt2"), []
    point = _points(model, "ln1.hook_normalized")[0]

    def watch(gradient: Tensor, hook: object) -> None:
        seen.append(float(gradient.abs().max()))

    start = torch.zeros(1, requires_grad=True)
    with model.bridge.hooks(fwd_hooks=[("embed.hook_out", lambda x, hook: x + start)], bwd_hooks=[(point, watch)]):
        model.bridge(_IDS).sum().backward()
    assert len(seen) == 1 and seen[0] > 0


def test_a_copied_bridge_uses_its_own_norms() -> None:
    bridge = hooked("gpt2").bridge
    norms = [module for module in copy.deepcopy(bridge).modules() if isinstance(module, NormalizationBridge)]
    assert norms and all(norm.forward.__self__ is norm for norm in norms)
