"""A store that was filled under hooks never answers without them, nor the other way round."""

import numpy as np
import pytest
import torch

import promptscope as ps
from tests.probe_inputs import encoded
from tests.tiny_models import tiny_hf_model

POINT = "blocks.1.hook_mlp_out"


def fresh() -> ps.HookedModel:
    return ps.load_model(tiny_hf_model("gpt2"))


def probed(model: ps.HookedModel, store, **options) -> ps.ProbeResult:
    prompt = ps.SoftPrompt(4, init=ps.init.Uniform(-1.0, 1.0), seed=1).bind(model)
    found = ps.probe(model, prompt, encoded(), ps.probes.AttentionKL(), store=store, progress=False, **options)
    return found["attention_kl"]


def forbid_passes(model: ps.HookedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on every number has to come from the store."""

    def run(*args, **options):
        raise AssertionError("a forward pass ran")

    monkeypatch.setattr(model, "forward_hooked", run)


def scaled(factor: float):
    def hook(x, hook):
        return x * factor

    return hook


def test_clean_and_ablated_captures_are_apart(tmp_path) -> None:
    model = fresh()
    ablation = [(POINT, scaled(0.0))]
    clean, ablated = probed(model, None).values, probed(model, None, hooks=ablation).values
    assert np.abs(clean - ablated).max() > 1e-3
    for _ in range(2):  # filled, then read
        np.testing.assert_allclose(probed(model, tmp_path / "s").values, clean, atol=1e-6)
        np.testing.assert_allclose(probed(model, tmp_path / "s", hooks=ablation).values, ablated, atol=1e-6)
        with model.hooks(ablation):
            np.testing.assert_allclose(probed(model, tmp_path / "s").values, ablated, atol=1e-6)


def test_hooks_that_differ_in_a_closure_are_apart(tmp_path) -> None:
    model = fresh()
    found = {factor: probed(model, tmp_path, hooks=[(POINT, scaled(factor))]).values for factor in (0.0, 0.5, 2.0)}
    for factor, values in found.items():
        np.testing.assert_allclose(values, probed(fresh(), None, hooks=[(POINT, scaled(factor))]).values, atol=1e-6)
    assert np.abs(found[0.0] - found[2.0]).max() > 1e-3


def test_known_hooks_are_kept(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fresh()
    probed(model, tmp_path, hooks=[(POINT, scaled(0.5))])
    forbid_passes(model, monkeypatch)
    result = probed(model, tmp_path, hooks=[(POINT, scaled(0.5))])
    assert result.provenance["store"] == "kept"
    assert "mlp" in result.provenance["model"]["hooks"][0]["point"]


@pytest.mark.parametrize("attach", ["hooks=", "model.hooks", "bridge.add_hook", "pytorch"])
def test_hooks_that_cannot_be_told_apart_bypass_the_store(attach: str, tmp_path) -> None:
    model = fresh()
    layer = torch.nn.Linear(32, 32)  # a module has no content that could be hashed: its hooks and buffers count too
    torch.nn.init.normal_(layer.weight, std=3.0, generator=torch.Generator().manual_seed(0))

    def hook(x, hook):
        return x + layer(x)

    clean = probed(model, tmp_path).values
    if attach == "hooks=":
        result = probed(model, tmp_path, hooks=[(POINT, hook)])
    elif attach == "model.hooks":
        with model.hooks([(POINT, hook)]):
            result = probed(model, tmp_path)
    elif attach == "bridge.add_hook":
        model.bridge.add_hook(POINT, hook)
        result = probed(model, tmp_path)
        model.bridge.reset_hooks()
    else:
        place = model.bridge.blocks[1].mlp
        handle = place.register_forward_hook(lambda module, inputs, output: output + layer(output))
        result = probed(model, tmp_path)
        handle.remove()
    assert "bypassed" in result.provenance["store"]
    assert np.abs(result.values - clean).max() > 1e-3
    np.testing.assert_allclose(probed(model, tmp_path).values, clean, atol=1e-6)


def test_a_stated_identity_is_taken(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fresh()
    layer = torch.nn.Linear(32, 32)

    def hook(x, hook):
        return x + layer(x)

    hook.identity = "adds a linear layer, seed 0"  # type: ignore[attr-defined]
    assert probed(model, tmp_path, hooks=[(POINT, hook)]).provenance["store"] == "kept"
    forbid_passes(model, monkeypatch)
    probed(model, tmp_path, hooks=[(POINT, hook)])
