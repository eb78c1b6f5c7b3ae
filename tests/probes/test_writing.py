"""Probes that write, and probes from functions, against the same thing done by hand with hooks."""

import inspect
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import promptscope as ps
from promptscope.errors import ModelError, ProbeError
from promptscope.probes import Transplant, Write, WritingProbe, probe
from promptscope.store import ActivationStore
from promptscope.tasks import Encoded
from tests.probe_inputs import counting, encoded
from tests.tiny_models import hooked


def labelled(family="gpt2"):
    """Inputs of different lengths that end with a label of two tokens."""
    made = []
    for example in encoded([9, 5, 12, 7], family=family):
        if family == "t5":
            more = {"targets": [7, 8], "decoder_input_ids": [0, 7]}
        elif family == "bert":
            more = {"targets": [-100] * (len(example.input_ids) - 1) + [9], "label_start": len(example.input_ids) - 1}
        else:
            n = len(example.input_ids) - 2
            more = {"targets": [-100] * (n - 1) + example.input_ids[n:] + [-100], "label_start": n}
        made.append(Encoded(**(vars(example) | more)))
    return made


def loss_by_hand(model, example, prompt, hooks=()):
    """The loss of one input, alone, under hooks."""
    decoder = None if example.decoder_input_ids is None else torch.tensor([example.decoder_input_ids])
    with torch.no_grad():
        logits = model.logits(
            torch.tensor([example.input_ids]), prompt=prompt, decoder_input_ids=decoder, hooks=hooks, via="hooks"
        )
    return float(cross_entropy(logits[0], torch.tensor(example.targets)))


@dataclass(frozen=True)
class ZeroHead(Write):
    head: int = 0

    def write(self, x, layer, view):
        x[:, :, self.head] = 0
        return x


class WithoutHeads(WritingProbe):
    name = "without_heads"

    def writes(self):
        return {f"head {h}": ZeroHead("blocks.1.attn.hook_z", head=h) for h in (0, 2)}

    def nulls(self):
        return {"head 0": [ZeroHead("blocks.1.attn.hook_z", head=h) for h in (1, 3)]}


def zero(head):
    def hook(x, hook):
        x = x.clone()
        x[:, :, head] = 0
        return x

    return [("blocks.1.attn.hook_z", hook)]


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_an_ablated_head_changes_the_loss_as_by_hand(family):
    model, examples = hooked(family), labelled(family)
    prompts = {"v1": ps.SoftPrompt(3).bind(model), "v2": ps.DeepPrompt(2).bind(model)}
    result = probe(model, prompts, examples, WithoutHeads(), batch_size=3, progress=False)["without_heads"]
    for name, prompt in prompts.items():
        plain = np.array([loss_by_hand(model, e, prompt) for e in examples])
        changes = {h: [loss_by_hand(model, e, prompt, zero(h)) for e in examples] - plain for h in range(4)}
        for head in (0, 2):
            got = result.data["per_example"].sel(prompt=name, write=f"head {head}")
            np.testing.assert_allclose(got, changes[head], atol=2e-5)
            assert np.abs(changes[head]).max() > 1e-3
        np.testing.assert_allclose(result.data["loss"].sel(prompt=name), plain.mean(), atol=2e-5)
        null = result.data["null"].sel(prompt=name, write="head 0")
        np.testing.assert_allclose(null, [changes[1].mean(), changes[3].mean()], atol=2e-5)
        more = sum(abs(changes[h].mean()) >= abs(changes[0].mean()) for h in (1, 3))
        assert float(result.data["p_value"].sel(prompt=name, write="head 0")) == pytest.approx((1 + more) / 3)
        assert np.isnan(result.data["p_value"].sel(prompt=name, write="head 2"))


def test_encoder_decoders_and_models_without_a_prompt():
    @dataclass(frozen=True)
    class Halve(Write):
        def write(self, x, layer, view):
            return x / 2

    class Halved(WritingProbe):
        name = "halved"

        def writes(self):
            return {"both": [Halve("encoder_blocks.1.attn.hook_z"), Halve("encoder_blocks.2.attn.hook_z")]}

    model, examples = hooked("t5"), labelled("t5")
    result = probe(model, None, examples, Halved(), batch_size=2, progress=False)["halved"]
    hooks = [(f"encoder_blocks.{i}.attn.hook_z", lambda x, hook: x / 2) for i in (1, 2)]
    by_hand = [loss_by_hand(model, e, None, hooks) - loss_by_hand(model, e, None) for e in examples]
    assert result.dims == ("write",)
    np.testing.assert_allclose(result.data["per_example"].sel(write="both"), by_hand, atol=2e-5)
    assert np.abs(by_hand).max() > 1e-3


@dataclass(frozen=True)
class AtLabel(Transplant):
    def take(self, x, layer, view):
        return view.at(x, view.answer)

    def put(self, x, taken, layer, view):
        x[torch.arange(len(x)), view.k + view.answer] = taken
        return x


class Patched(WritingProbe):
    name = "patched"

    def __init__(self, donor):
        self.donor = donor

    def writes(self):
        return {"layer 1": AtLabel("blocks.1.hook_resid_post", donor=self.donor)}


@pytest.mark.parametrize("donor", ["", "b"])
def test_another_run_s_activation(donor):
    model, examples = hooked("llama"), labelled("llama")
    prompts = {"a": ps.SoftPrompt(3, seed=1).bind(model), "b": ps.SoftPrompt(5, seed=2).bind(model)}
    result = probe(model, prompts, examples, Patched(donor), batch_size=3, progress=False)["patched"]
    changes = []
    for example in examples:
        ids, at, kept = torch.tensor([example.input_ids]), example.label_start - 1, []
        giver = prompts.get(donor)
        offset = 5 if donor else 0
        read = [("blocks.1.hook_resid_post", lambda x, hook, kept=kept, p=offset + at: kept.append(x[0, p].clone()))]
        model.logits(ids, prompt=giver, hooks=read)

        def put(x, hook, kept=kept, p=3 + at):
            x = x.clone()
            x[0, p] = kept[0]
            return x

        plain = loss_by_hand(model, example, prompts["a"])
        changes.append(loss_by_hand(model, example, prompts["a"], [("blocks.1.hook_resid_post", put)]) - plain)
    np.testing.assert_allclose(result.data["per_example"].sel(prompt="a", write="layer 1"), changes, atol=2e-5)
    assert np.abs(changes).max() > 1e-3
    if donor:
        np.testing.assert_allclose(result.data["per_example"].sel(prompt="b"), 0, atol=1e-7)  # its own activation


def test_written_passes_are_kept_and_told_apart(tmp_path):
    model, passes = counting()
    prompts = {"v1": ps.SoftPrompt(3).bind(model), "v2": ps.SoftPrompt(3, seed=9).bind(model)}
    first = probe(model, prompts, labelled(), Patched("v2"), store=tmp_path, progress=False)["patched"]
    run = len(passes)
    again = probe(model, prompts, labelled(), Patched("v2"), store=tmp_path, progress=False)["patched"]
    assert len(passes) == run > 0
    np.testing.assert_array_equal(first.values, again.values)
    prompts["v2"] = ps.SoftPrompt(3, seed=10).bind(model)  # the same name with other numbers
    other = probe(model, prompts, labelled(), Patched("v2"), store=tmp_path, progress=False)["patched"]
    assert len(passes) > run and float(abs(other.values - first.values).sel(prompt="v1").max()) > 1e-6
    assert len(ActivationStore(tmp_path).entries()) > 4


def test_bad_input():
    model = hooked("gpt2")
    with pytest.raises(ProbeError, match="4 of 4 inputs have none"):
        probe(model, None, encoded([9, 5, 12, 7]), WithoutHeads(), progress=False)
    with pytest.raises(ProbeError, match="prompt 'c', which is not given"):
        probe(model, {"a": ps.SoftPrompt(3)}, labelled(), Patched("c"), progress=False)

    @dataclass(frozen=True)
    class Broken(Write):
        how: str = "shape"

        def write(self, x, layer, view):
            return {"shape": x[:, :1], "none": None, "nan": x * torch.nan}[self.how]

    class Breaks(WritingProbe):
        name = "breaks"

        def __init__(self, site, how="shape"):
            self.site, self.how = site, how

        def writes(self):
            return {"it": Broken(self.site, self.how)}

    before = sum(len(module._forward_hooks) for module in model.bridge.modules())
    for how, message in (
        ("shape", "whole activation"),
        ("none", "returned None"),
        ("nan", "must write finite numbers"),
    ):
        with pytest.raises(ProbeError, match=message):
            probe(model, None, labelled(), Breaks("hook_resid_post", how), progress=False)
    with pytest.raises(ModelError, match="Did you mean 'hook_resid_post'"):
        probe(model, None, labelled(), Breaks("hook_resid_pots"), progress=False)
    assert sum(len(module._forward_hooks) for module in model.bridge.modules()) == before


def test_a_function_s_changes():
    model, inputs = hooked("gpt2"), encoded()
    prompts = {"v1": ps.SoftPrompt(4).bind(model)}

    @ps.probe_function("hook_resid_post", conditions="both", dims=("half",))
    def halves(x, view):
        return view.at(x, view.lengths - 1).unflatten(-1, (2, -1)).sum(dim=-1)

    result = probe(model, prompts, inputs, halves, batch_size=3, progress=False)["halves"]
    changes = []
    for row in inputs:
        found = {}
        for key, prompt in (("with", prompts["v1"]), ("without", None)):
            hooks = [("blocks.2.hook_resid_post", lambda x, hook, key=key, f=found: f.__setitem__(key, x[0, -1]))]
            model.logits(torch.tensor([row.input_ids]), prompt=prompt, hooks=hooks)
        changes.append((found["with"] - found["without"]).detach().reshape(2, -1).sum(dim=-1).tolist())
    np.testing.assert_allclose(result.values.sel(prompt="v1", layer=2), np.mean(changes, axis=0), atol=1e-4)


def test_functions_are_told_apart_by_their_code(tmp_path):
    values = []
    for factor in (1.0, 2.0):

        @ps.probe_function("hook_resid_post")
        def scaled(x, view, factor=factor):
            return x[:, view.k, 0] * factor

        values.append(probe(hooked("gpt2"), None, encoded(), scaled, store=tmp_path, progress=False)["scaled"].values)
    np.testing.assert_allclose(2 * values[0], values[1], rtol=1e-5)


def test_what_probe_function_refuses():
    with pytest.raises(ProbeError, match="needs the name of a hook point"):
        inspect.unwrap(ps.probe_function)(len)

    @ps.probe_function("attn.hook_pattern")
    def nameless(x, view):
        return x[:, :, 0, 0]

    with pytest.raises(ProbeError, match=r"name each one, such as dims=\('head',\)"):
        probe(hooked("gpt2"), None, encoded(), nameless, progress=False)
