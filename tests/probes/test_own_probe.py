"""A probe written in a notebook: the example of the `Probe` docstring, run exactly as it stands."""

import inspect
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import promptscope as ps
from promptscope.errors import ModelError, ProbeError
from promptscope.probes import Capture, PairedCapture, Probe, probe
from promptscope.store import ActivationStore
from tests.probe_inputs import counting, encoded
from tests.tiny_models import hooked


def example() -> str:
    """The code block of the docstring."""
    (block,) = re.findall(r"```python\n(.*?)```", inspect.getdoc(Probe) or "", flags=re.DOTALL)
    return block


def residuals_alone(model, row, prompt):
    """The residual stream leaving each layer, (k+n, d), with one input run by itself."""
    found = {}
    names = model.site("hook_resid_post")
    hooks = [(name, lambda x, hook, name=name: found.__setitem__(name, x[0])) for name in names]
    with torch.no_grad():
        model.forward_hooked(torch.tensor([row.input_ids]), prompt=prompt, hooks=hooks)
    return [found[name] for name in names]


def test_the_docstring_s_probe_runs_and_is_right():
    lines = [line for line in example().splitlines() if line.strip()]
    assert len(lines) <= 16
    names = {"dataclass": dataclass, "Capture": Capture, "Probe": Probe, "__name__": "__main__"}
    exec(example(), names)
    model, inputs = hooked("gpt2"), encoded()
    prompt = ps.SoftPrompt(4, init=ps.init.Uniform(-3.0, 3.0)).bind(model)
    result = probe(model, {"v1": prompt}, inputs, names["NormGrowth"](), progress=False)["norm_growth"]
    assert result.dims == ("prompt", "layer") and result.units == "ratio"
    growth = []
    for row in inputs:
        with_prompt = [x[4:].norm(dim=-1).mean() for x in residuals_alone(model, row, prompt)]
        without = [x.norm(dim=-1).mean() for x in residuals_alone(model, row, None)]
        growth.append([float(a / b) for a, b in zip(with_prompt, without, strict=True)])
    np.testing.assert_allclose(result.values.sel(prompt="v1"), np.mean(growth, axis=0), rtol=1e-5)
    assert np.abs(result.values - 1).max() > 1e-3


@dataclass(frozen=True)
class Kept(Capture):
    """Keeps what its class attribute says: for bad input."""

    site: str = "hook_resid_post"
    how: str = "mean"

    def reduce(self, x, layer, view):
        if self.how == "nan":
            return x.mean(dim=(1, 2)) * torch.where(torch.arange(len(x)) == 1, torch.nan, 1.0)
        return {"mean": x.mean(dim=(1, 2)), "scalar": x.mean(), "one row": x[:1], "batch lost": x.mean(dim=0)}[self.how]


@dataclass(frozen=True)
class Difference(PairedCapture):
    """How far the prompt moves the residual stream of the last token, (B,)."""

    site: str = "hook_resid_post"

    def reduce(self, x, layer, view):
        return view.at(x, view.lengths - 1)

    def compare(self, prompted, plain, layer, view):
        return (prompted - plain).norm(dim=-1)


class Mine(Probe):
    """Any capture, averaged over inputs."""

    name = "mine"

    def __init__(self, capture, conditions="plain"):
        self.capture, self.conditions = capture, conditions

    def captures(self):
        return {"it": self.capture}

    def compute(self, entries):
        if self.conditions == "plain":
            return entries.result(np.concatenate([p["values"] for p in entries.plain("it")]), dims=("layer",))
        per_prompt = {n: np.concatenate([p["values"] for p in entries.prompted("it", n)]) for n in entries.prompts}
        return entries.result(per_prompt, dims=("layer",))


def test_a_paired_capture_sees_both_passes_of_the_same_batch():
    model, inputs = hooked("llama"), encoded()
    prompts = {"v1": ps.SoftPrompt(4).bind(model), "v2": ps.DeepPrompt(3).bind(model)}
    result = probe(model, prompts, inputs, Mine(Difference(), "both"), batch_size=3, progress=False)["mine"]
    for name, made in prompts.items():
        moved = []
        for row in inputs:
            pairs = zip(residuals_alone(model, row, made), residuals_alone(model, row, None), strict=True)
            moved.append([float((with_prompt[-1] - without[-1]).norm()) for with_prompt, without in pairs])
        np.testing.assert_allclose(result.values.sel(prompt=name), np.mean(moved, axis=0), rtol=1e-4)


def test_one_layer_or_a_site_outside_the_layers():
    one = probe(hooked("gpt2"), None, encoded(), Mine(Kept(site="blocks.1.hook_resid_post")), progress=False)["mine"]
    assert one.data["layer"].values.tolist() == [1]
    every = probe(hooked("gpt2"), None, encoded(), Mine(Kept()), progress=False)["mine"]
    np.testing.assert_allclose(one.values, every.values.sel(layer=[1]))
    embed = probe(hooked("gpt2"), None, encoded(), Mine(Kept(site="embed.hook_out")), progress=False)["mine"]
    assert embed.data["layer"].values.tolist() == [-1]


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox", "bert", "t5"])
def test_logits_can_be_captured_whole(family):
    """Nobody reads logits, so they are computed at one position only, unless a capture does read them."""

    @dataclass(frozen=True)
    class FirstLogits(Capture):
        site: str = "unembed.hook_out"

        def reduce(self, x, layer, view):
            return x[:, 0]

    class First(Mine):
        def compute(self, entries):
            return entries.result(np.concatenate([p["values"] for p in entries.plain("it")]), dims=("layer", "token"))

    inputs = encoded([5, 5, 5], family=family)
    result = probe(hooked(family), None, inputs, First(FirstLogits()), progress=False)["mine"]
    ids = torch.tensor([row.input_ids for row in inputs])
    with torch.no_grad():
        logits = hooked(family).logits(ids, decoder_input_ids=torch.zeros(3, 1).long() if family == "t5" else None)
    np.testing.assert_allclose(result.values[0], logits[:, 0].mean(dim=0), atol=1e-4)


def test_an_unknown_hook_point_names_the_nearest_before_any_pass(tmp_path):
    model, passes = counting()
    with pytest.raises(ModelError, match=r"hook_residd_post.*Did you mean"):
        probe(model, None, encoded(), Mine(Kept(site="hook_residd_post")), store=tmp_path / "store", progress=False)
    assert not passes
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("how", ["scalar", "one row", "batch lost"])
def test_a_capture_must_keep_one_row_per_input(how):
    with pytest.raises(ProbeError, match="one row per input"):
        probe(hooked("gpt2"), None, encoded(), Mine(Kept(how=how)), progress=False)


@pytest.mark.parametrize("how", ["width", "dtype"])
def test_a_capture_must_keep_one_shape_and_type_in_all_layers(how):
    """One number would silently fill the room of two, and be rounded to a whole one."""

    @dataclass(frozen=True)
    class Uneven(Capture):
        site: str = "hook_resid_post"

        def reduce(self, x, layer, view):
            if how == "width":
                return x[:, 0, : 1 if layer else 2]
            return x[:, 0, :1] if layer else x[:, 0, :1].long()

    with pytest.raises(ProbeError, match=r"Uneven must keep the same shape and type.*at blocks\.0\..*at blocks\.1\."):
        probe(hooked("gpt2"), None, encoded(), Mine(Uneven()), progress=False, batch_size=3)


def test_what_is_only_compared_may_differ_in_shape_from_layer_to_layer():
    @dataclass(frozen=True)
    class Some(PairedCapture):
        site: str = "hook_resid_post"

        def reduce(self, x, layer, view):
            return view.without_prompt(x)[:, 0, : 1 + layer]

        def compare(self, prompted, plain, layer, view):
            return (prompted - plain).abs().sum(dim=-1) + 100 * prompted.shape[-1]

    prompts = {"p": ps.SoftPrompt(3, seed=1)}
    found = probe(hooked("gpt2"), prompts, encoded(), Mine(Some(), "prompted"), progress=False, batch_size=3)["mine"]
    assert (found.values.round(-2) == [[100, 200, 300]]).all() and (found.values != found.values.round(-2)).all()


def test_numbers_that_are_not_finite_never_reach_the_store(tmp_path):
    # Row 1 of its batch: batches take the longest inputs first, and this is the second longest.
    with pytest.raises(ProbeError, match=r"NaN or infinity at blocks\.0\.hook_resid_post for input 'x2'"):
        probe(hooked("gpt2"), None, encoded(), Mine(Kept(how="nan")), store=tmp_path, progress=False)
    assert len(ActivationStore(tmp_path).entries()) == 0


def test_no_hook_is_left_behind(tmp_path):
    model = hooked("gpt2")
    before = count_hooks(model)
    probe(model, None, encoded(), Mine(Kept()), progress=False)
    with pytest.raises(ProbeError):
        probe(model, None, encoded(), Mine(Kept(how="scalar")), store=tmp_path, progress=False)
    assert count_hooks(model) == before
    # and the entry is free for the next one
    probe(model, None, encoded(), Mine(Kept()), store=tmp_path, progress=False)


def count_hooks(model):
    return sum(len(module._forward_hooks) for module in model.bridge.modules())


@pytest.mark.parametrize("read", ["prompted", "plain", "layers"])
def test_a_capture_that_is_not_there_is_named(read: str):
    class Misspelt(Probe):
        name = "misspelt"
        conditions = "prompted"

        def captures(self):
            return {"norm": Kept()}

        def compute(self, entries):
            arguments = {"prompted": ("norms", "p"), "plain": ("norm",), "layers": ("norms",)}[read]
            getattr(entries, read)(*arguments)
            raise AssertionError("nothing was said")

    model = hooked("gpt2")
    prompts = {"p": ps.SoftPrompt(2).bind(model)}
    seen = "'norm'" if read != "plain" else r"of this pass\. There are: none; .*conditions"
    with pytest.raises(ProbeError, match=f"'misspelt' has no capture.*{seen}"):
        probe(model, prompts, encoded(), Misspelt(), progress=False)
