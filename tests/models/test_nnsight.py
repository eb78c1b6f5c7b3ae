"""nnsight as the backend: the same hook points, numbers and gradients as TransformerLens', on padded batches."""

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import promptscope as ps
from promptscope.errors import ModelError
from promptscope.models import backend_table
from promptscope.models.nnsight_bridge import Part
from promptscope.models.nnsight_table import SPOTS
from promptscope.probes import AttentionBias, AttentionKL, AttentionMass, NeuronStates, ResidualPCA, Write, WritingProbe
from promptscope.readings.logit_lens import lens_log_probabilities
from tests.models.zoo import make
from tests.probes.inside import inputs
from tests.probes.test_writing import labelled
from tests.tiny_models import hooked, tiny_hf_model

FAMILIES = ("gpt2", "llama", "bert")


@pytest.fixture(scope="module")
def models():
    """Both backends over the same weights, by family."""
    return {family: (hooked(family), ps.load_model(tiny_hf_model(family), backend="nnsight")) for family in FAMILIES}


def batch(side="right"):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 200, (3, 7), generator=generator)
    mask = torch.ones_like(ids)
    for row, n in enumerate((4, 6, 7)):
        mask[row, slice(n, None) if side == "right" else slice(0, 7 - n)] = 0
    return ids, mask


def prompts(model):
    init = ps.init.Uniform(-1.0, 1.0)
    return {"v1": ps.SoftPrompt(4, init=init).bind(model), "v2": ps.DeepPrompt(3, init=init).bind(model)}


def reading(names):
    kept = {}
    return kept, [(name, lambda x, hook, name=name: kept.__setitem__(name, x.detach())) for name in names]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_hook_point_has_the_same_numbers(family, models):
    lens, trace = models[family]
    names = list(trace.hook_points()["name"])
    others = set(lens.hook_points()["name"]) - set(names)
    assert trace.backend == "nnsight" and all(name.endswith("hook_rot_k") for name in others)
    ids, mask = batch()
    for prompt in (None, *prompts(lens).values()):
        found = []
        for model in (lens, trace):
            kept, hooks = reading(names)
            logits = model.logits(ids, mask, prompt, via="hooks", hooks=hooks)
            found.append((logits.detach(), kept))
        torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=0)
        for name in names:
            theirs, ours = found[0][1][name], found[1][1][name]
            assert theirs.shape == ours.shape
            finite = torch.isfinite(theirs) & (theirs > -1e30)  # what a mask hides is minus infinity, or nearly so
            torch.testing.assert_close(theirs[finite], ours[finite], atol=1e-5, rtol=0, msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_write_at_every_hook_point_does_the_same(family, models):
    lens, trace = models[family]
    ids, mask = batch()
    table = trace.hook_points()
    for name in table.loc[table["acts"] & table["layer"].isin([-1, 1]), "name"]:

        def write(x, hook):
            return x * (1 + 0.1 * torch.sin(torch.arange(x.shape[-1], dtype=x.dtype)))

        by_lens, by_trace = (m.logits(ids, mask, hooks=[(name, write)]).detach() for m in (lens, trace))
        torch.testing.assert_close(by_lens[mask.bool()], by_trace[mask.bool()], atol=1e-5, rtol=0, msg=name)
        assert (by_trace - trace.logits(ids, mask))[mask.bool()].abs().max() > 1e-6, name


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_through_a_trace_are_those_of_hooks(family, side, models):
    ids, mask = batch(side)
    for kind in ("v1", "v2"):
        gradients = []
        for model in models[family]:
            prompt = prompts(model)[kind]
            logits = model.logits(ids, mask, prompt, via="hooks")[mask.bool()]
            loss = logits.log_softmax(-1)[:, 5].sum()
            loss.backward()
            gradients.append([parameter.grad for parameter in prompt.parameters()])
        for theirs, ours in zip(*gradients, strict=True):
            assert ours.abs().max() > 1e-3
            torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_probes_give_the_same_numbers(family, models):
    probes = [AttentionKL(), AttentionMass(), AttentionBias(), NeuronStates(at="last"), ResidualPCA()]
    examples = inputs(family)
    found = [
        ps.probe(model, prompts(model), examples, probes, batch_size=3, progress=False) for model in models[family]
    ]
    for name in found[0]:
        a, b = (result[name].values.transpose("prompt", ...).values for result in found)
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-4, err_msg=name)


@dataclass(frozen=True)
class ZeroHead(Write):
    head: int = 0

    def write(self, x, layer, view):
        x[:, :, self.head] = 0
        return x


class WithoutHead(WritingProbe):
    name = "without_head"

    def writes(self):
        return {f"head {h}": ZeroHead("blocks.1.attn.hook_z", head=h) for h in range(4)}


def test_a_writing_probe_gives_the_same_numbers(models):
    found = [
        ps.probe(model, prompts(model), labelled("llama"), WithoutHead(), progress=False)["without_head"].values
        for model in models["llama"]
    ]
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    assert np.abs(found[0]).max() > 1e-3


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_generation_with_a_prompt_and_under_hooks(family, models):
    ids, mask = batch("left")
    lens, trace = models[family]
    zero = [("blocks.1.attn.hook_pattern", lambda x, hook: x * 0)]
    for name in prompts(lens):
        for hooks in ([], zero):
            mine, theirs = (
                ps.generate(model, prompts(model)[name], ids, mask, max_new_tokens=5, hooks=hooks)
                for model in (trace, lens)
            )
            assert mine == theirs


def test_training_under_a_hook_runs_through_traces(models):
    """A hook that is attached lets training run the hooked model: in traces, to the same prompt."""
    losses = []
    ids, mask = batch()
    for model in models["gpt2"]:
        prompt = prompts(model)["v1"]
        optimiser = torch.optim.Adam(prompt.parameters(), lr=0.05)
        with model.hooks([("blocks.0.hook_mlp_out", lambda x, hook: x * 0.5)]):
            for _ in range(5):
                loss = -model.logits(ids, mask, prompt)[mask.bool()].log_softmax(-1)[:, 5].mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                losses.append(float(loss.detach()))
    np.testing.assert_allclose(losses[:5], losses[5:], atol=1e-4)
    assert losses[4] < losses[0]


def test_one_table_says_which_backend_has_what(models):
    table = backend_table(*(hooked(family).family for family in ("gpt2", "llama", "bert", "t5")))
    assert table["transformer_lens"].all()
    for family, (lens, trace) in models.items():
        rows = table[table["family"] == family]
        layers = range(lens.shape.n_layers)

        def spelled(names, layers=layers):
            return {name.format(i=i) for name in names for i in layers}

        assert spelled(rows.loc[rows["nnsight"], "name"]) <= set(trace.bridge.hook_dict)
        assert spelled(rows["name"]) <= set(lens.bridge.hook_dict)
        assert spelled(SPOTS[family]) == set(trace.bridge.hook_dict)
        assert all(name.endswith("hook_rot_k") for name in rows.loc[~rows["nnsight"], "name"])
    assert not table.loc[table["family"] == "t5", "nnsight"].any()
    with pytest.raises(ModelError, match=r"backend_table\(model.family\)"):
        backend_table()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_logit_lens_has_the_same_numbers_and_obeys_hooks(family, models):
    residual = torch.randn(5, models[family][0].shape.d_model, generator=torch.Generator().manual_seed(0))
    found = {}
    for name in ("ln_final.hook_out", "unembed.hook_out", None):
        for model in models[family]:
            with model.hooks([(name, lambda x, hook: x * 3)] if name else []):
                found[name, model.backend] = lens_log_probabilities(residual, model).detach()
        torch.testing.assert_close(found[name, "nnsight"], found[name, "transformer_lens"], atol=1e-5, rtol=0)
    assert (found["unembed.hook_out", "nnsight"] - found[None, "nnsight"]).abs().max() > 0.01


def test_a_head_of_more_layers_has_no_final_norm():
    model = ps.load_model(make("bert_decoder"), backend="nnsight")
    assert model.family.name == "bert" and model.family.kind == "causal" and model.family.has("unembed.hook_out")
    with pytest.raises(ModelError, match=r"ln_final.hook_out is no final norm"):
        model.site("ln_final.hook_out")
    with pytest.raises(ps.ProbeError, match="a head with more"):
        lens_log_probabilities(torch.zeros(1, model.shape.d_model), model)


def test_a_part_whose_weights_are_on_a_server_does_not_run_alone():
    with pytest.raises(ModelError, match=r"weights of the model's LayerNorm are on the server.*without remote="):
        Part(torch.nn.LayerNorm(4, device="meta"))(torch.zeros(2, 4))


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ModelError, match=r"gpt2, llama, bert.*family t5: use backend='transformer_lens'"):
        ps.load_model(tiny_hf_model("t5"), backend="nnsight")
    model = ps.load_model(tiny_hf_model("gpt2"), backend="nnsight")
    ids, _ = batch()
    with pytest.raises(ModelError, match=r"'blocks.0.ln1.hook_scale'.*backend='transformer_lens'\) may have"):
        model.logits(ids, hooks=[("blocks.0.ln1.hook_scale", lambda x, hook: None)])
    inner = model.bridge.original_model
    inner.train().transformer.gradient_checkpointing = True
    with pytest.raises(ModelError, match="gradient checkpointing"):
        model.logits(ids, via="hooks")
    inner.eval()


class StopError(Exception):
    """Raised in a hook."""


def test_errors_in_a_hook_come_out_and_leave_nothing(models):
    _, trace = models["llama"]
    ids, mask = batch()
    before = trace.logits(ids, mask, via="hooks")

    def stop(x, hook):
        raise StopError

    with pytest.raises(StopError):
        trace.logits(ids, mask, hooks=[("blocks.1.hook_resid_post", stop)])
    with pytest.raises(ModelError, match=r"another shape.*blocks.1.hook_resid_post"):
        trace.logits(ids, mask, hooks=[("blocks.1.hook_resid_post", lambda x, hook: x[:, :1])])
    assert not trace.active_hooks()
    assert torch.equal(before, trace.logits(ids, mask, via="hooks"))


def test_nnsight_is_imported_only_when_asked_for():
    code = (
        "import sys, promptscope as ps; m = ps.load_model('embedded-causal'); m.hook_points();"
        "print('nnsight' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.slow
def test_the_conformance_suite_passes_on_it():
    model = ps.load_model("embedded-causal", backend="nnsight")
    ps.check_probe(AttentionMass(), model, only=["batch size", "no hook left after an exception", "edits act"])
