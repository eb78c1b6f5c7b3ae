"""The conformance suite: our own probes pass it, and probes with one planted fault fail the check that names it."""

import os
import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

import promptscope as ps
from promptscope.probes import (
    AttentionBias,
    AttentionKL,
    AttentionMass,
    AttentionVariability,
    Capture,
    LabelCosine,
    NeuronStates,
    Probe,
    ResidualPCA,
    Transplant,
    Write,
    WritingProbe,
)

OURS = [
    AttentionMass(),
    AttentionKL(),
    AttentionKL("per_query"),
    AttentionVariability(6),
    AttentionBias(),
    NeuronStates(),
    NeuronStates("binary", "last"),
    LabelCosine(),
    LabelCosine("residual"),
    ResidualPCA(),
]


@pytest.fixture(scope="module")
def model():
    return ps.load_model("embedded-causal")


@pytest.mark.parametrize("probe", [pytest.param(p, marks=pytest.mark.slow, id=p.name) for p in OURS])
def test_our_own_probes_conform(probe, model):
    assert ps.check_probe(probe, model).passed[-1] == "memory flat in inputs"


@dataclass(frozen=True)
class Norm(Capture):
    site: str = "hook_resid_post"

    def reduce(self, x, layer, view):
        return (view.without_prompt(x).norm(dim=-1) * view.tokens).sum(dim=1) / view.lengths


class Sound(Probe):
    """A probe without fault, of which the others are made."""

    name = "sound"
    conditions = "prompted"
    capture = Norm()
    about: ClassVar = {"units": "norm", "direction": "higher = longer"}

    def captures(self):
        return {"norm": self.capture}

    def numbers(self, entries, prompt):
        return np.concatenate([part["values"] for part in entries.prompted("norm", prompt)])

    def compute(self, entries):
        found = {p: self.numbers(entries, p) for p in entries.prompts}
        return entries.result(found, dims=("layer",), **self.about)


class LeavesAHook(Sound):
    def ready(self, model, task, prompts):
        model.bridge.add_hook("blocks.1.hook_resid_post", lambda x, hook: None)
        return self


class LeavesAPyTorchHook(Sound):
    def compute(self, entries):
        entries.model.twin.register_forward_hook(lambda *_: None)
        return super().compute(entries)


class LeavesAHookAfterErrors(Sound):
    """Takes its hook away when it computes, which it does not where the passes fail."""

    def ready(self, model, task, prompts):
        self._handle = model.bridge.blocks[1].register_forward_hook(lambda *_: None)
        return self

    def compute(self, entries):
        self._handle.remove()
        return super().compute(entries)

    def __deepcopy__(self, memo):
        return type(self)()


class ChangesWeights(Sound):
    def compute(self, entries):
        with torch.no_grad():
            next(entries.model.twin.parameters()).data.mul_(1.0001)
        return super().compute(entries)


class TrainsTheModel(Sound):
    def compute(self, entries):
        entries.model.twin.train()
        return super().compute(entries)


class ChangesTheTokenizer(Sound):
    def ready(self, model, task, prompts):
        model.tokenizer.padding_side = "left"
        return self


class DrawsRandomNumbers(Sound):
    def compute(self, entries):
        torch.rand(1)
        return super().compute(entries)


class ReseedsNumPy(Sound):
    def compute(self, entries):
        np.random.seed(3)
        return super().compute(entries)


class ChangesTheDefaultType(Sound):
    def compute(self, entries):
        torch.set_default_dtype(torch.float64)
        return super().compute(entries)


class ChangesTheEnvironment(Sound):
    def compute(self, entries):
        os.environ["MY_PROBE"] = "was here"
        return super().compute(entries)


class ChangesThePrompt(Sound):
    def ready(self, model, task, prompts):
        for prompt in prompts.values():
            for parameter in prompt.parameters():
                parameter.data += 0.01
        return self


def capturing(reduce, name):
    """A sound probe with another reduction."""

    @dataclass(frozen=True)
    class Faulty(Capture):
        site: str = "hook_resid_post"

    Faulty.reduce = reduce
    Faulty.__abstractmethods__ = frozenset()
    return type(name, (Sound,), {"capture": Faulty()})


SeesItsBatch = capturing(lambda self, x, layer, view: (x - x.mean(dim=0)).norm(dim=(1, 2)), "SeesItsBatch")
SeesPadding = capturing(lambda self, x, layer, view: view.without_prompt(x).norm(dim=-1).mean(dim=1), "SeesPadding")
LastIsPadding = capturing(lambda self, x, layer, view: x[:, -1].norm(dim=-1), "LastIsPadding")
LosesTheBatch = capturing(lambda self, x, layer, view: x.mean(dim=0)[:3].mean(dim=-1), "LosesTheBatch")
NotANumber = capturing(lambda self, x, layer, view: x[:, 0, 0] / 0 * 0, "NotANumber")
RandomCapture = capturing(lambda self, x, layer, view: x.norm(dim=(1, 2)) * torch.rand(len(x)), "RandomCapture")

KEPT: list = []


def _hoard(self, x, layer, view):
    KEPT.append(x)
    return x[:, 0].norm(dim=-1)


def _hoard_arrays(self, x, layer, view):
    KEPT.append(x.numpy().copy())
    return x[:, 0].norm(dim=-1)


Hoards = capturing(_hoard, "Hoards")
HoardsArrays = capturing(_hoard_arrays, "HoardsArrays")


class DependsOnOrder(Sound):
    def numbers(self, entries, prompt):
        found = super().numbers(entries, prompt)
        return found * (np.arange(len(found)) + 1)[:, None]


class DependsOnPaddingSide(Sound):
    def ready(self, model, task, prompts):
        other = type(self)()
        other._shift = 1.0 if model.tokenizer.padding_side == "left" else 0.0
        return other

    def numbers(self, entries, prompt):
        return super().numbers(entries, prompt) + self._shift


class OfTheOperatingSystem(Sound):
    def numbers(self, entries, prompt):
        return super().numbers(entries, prompt) + int.from_bytes(os.urandom(2), "big")


class OfTheGlobalSeed(Sound):
    def numbers(self, entries, prompt):
        state = torch.get_rng_state()
        found = super().numbers(entries, prompt) + float(torch.rand(1))
        torch.set_rng_state(state)
        return found


class CannotBeSaved(Sound):
    def compute(self, entries):
        result = super().compute(entries)
        result.provenance["model object"] = entries.model
        return result


class HoldsText(Sound):
    def compute(self, entries):
        result = super().compute(entries)
        result.data["word"] = (("layer",), np.array(["a"] * result.data.sizes["layer"]))
        return result


class IgnoresItsCaptures(Sound):
    def numbers(self, entries, prompt):
        return np.ones_like(super().numbers(entries, prompt))


class SaysNothing(Sound):
    about: ClassVar = {"units": "", "direction": ""}


class RaisesKeyErrors(Sound):
    def ready(self, model, task, prompts):
        if task is None:
            raise KeyError("task")
        return self


@dataclass(frozen=True)
class Idle(Write):
    def write(self, x, layer, view):
        (x + 1).mean()
        return x


@dataclass(frozen=True)
class Narrow(Write):
    def write(self, x, layer, view):
        return x[:, :, :1]


class WritesNothing(WritingProbe):
    name = "writes_nothing"

    def writes(self):
        return {"idle": Idle("blocks.2.hook_resid_post")}


class WritesAnotherShape(WritingProbe):
    name = "another_shape"

    def writes(self):
        return {"narrow": Narrow("blocks.2.hook_resid_post")}


FAULTS = [
    (LeavesAHook, "no hook left after success", "2.*hook_resid_post|blocks.1"),
    (LeavesAPyTorchHook, "no hook left after success", "model.twin"),
    (LeavesAHookAfterErrors, "no hook left after an exception", "blocks.1"),
    (LeavesAHookAfterErrors, "no hook left after bad input", "blocks.1"),
    (ChangesWeights, "model unchanged", "weight"),
    (TrainsTheModel, "model unchanged", "mode of .* was evaluation and is training"),
    (ChangesTheTokenizer, "tokenizer unchanged", "padding_side was right and is left"),
    (DrawsRandomNumbers, "random numbers unchanged", "torch"),
    (ReseedsNumPy, "random numbers unchanged", "numpy"),
    (ChangesTheDefaultType, "global settings unchanged", "default dtype was torch.float32 and is torch.float64"),
    (ChangesTheEnvironment, "global settings unchanged", "environment"),
    (ChangesThePrompt, "prompts unchanged", "v1"),
    (SeesItsBatch, "batch size", "batches of 1 and of 3"),
    (SeesPadding, "padding", "padded"),
    (LastIsPadding, "padding", "padded"),
    (LosesTheBatch, "runs", "one row per input"),
    (NotANumber, "runs", "not finite"),
    (RandomCapture, "deterministic", "same seed|global random"),
    (Hoards, "memory flat in inputs", "grows"),
    (HoardsArrays, "memory flat in inputs", "grows"),
    (DependsOnOrder, "order of inputs", "reverse order"),
    (DependsOnPaddingSide, "padding side", "padding_side"),
    (OfTheOperatingSystem, "deterministic", "same seed"),
    (OfTheGlobalSeed, "deterministic", "global random number generators"),
    (CannotBeSaved, "result saves and loads", "JSON|serializable"),
    (HoldsText, "result saves and loads", "fail"),
    (IgnoresItsCaptures, "edits act", "noise"),
    (SaysNothing, "labelled result", "units"),
    (RaisesKeyErrors, "no hook left after bad input", "KeyError"),
    (WritesNothing, "edits act", "'idle'"),
    (WritesAnotherShape, "runs", "whole activation"),
]


@pytest.mark.slow
def test_the_probe_that_faults_are_planted_in_is_sound(model):
    report = ps.check_probe(Sound(), model)
    assert len(report.passed) == 20 and "passes 20 checks" in str(report)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("embedded-masked-0", {}),
        ("embedded-seq2seq", {}),
        ("embedded-causal", {"backend": "nnsight"}),
        ("embedded-causal", {"backend": "nnsight", "device_map": {"": "cpu"}}),
    ],
)
def test_the_suite_runs_on_every_kind_of_model(name, how):
    assert len(ps.check_probe(Sound(), ps.load_model(name, **how)).passed) == 20


# One of each kind in the fast suite.
_FAST = (
    LeavesAHook,
    LeavesAHookAfterErrors,
    ChangesTheTokenizer,
    DrawsRandomNumbers,
    SeesItsBatch,
    SeesPadding,
    Hoards,
)
_FAST += (DependsOnOrder, OfTheOperatingSystem, CannotBeSaved, IgnoresItsCaptures, WritesNothing)


@pytest.mark.parametrize(
    ("fault", "check", "seen"),
    [
        pytest.param(*row, id=f"{row[0].__name__}-{row[1]}", marks=() if row[0] in _FAST else pytest.mark.slow)
        for row in FAULTS
    ],
)
def test_a_planted_fault_is_caught_and_named(fault, check, seen, model):
    KEPT.clear()
    model = ps.load_model("embedded-causal") if fault is ChangesWeights else model
    prompts = {"v1": ps.SoftPrompt(3, seed=1)}
    with pytest.raises(ps.ProbeCheckError) as caught:
        ps.check_probe(fault(), model, prompts, only=[check])
    KEPT.clear()
    assert check in caught.value.failed and check in str(caught.value), caught.value
    assert re.search(seen, caught.value.failed[check]), caught.value.failed


@dataclass(frozen=True)
class AtAnswer(Transplant):
    """Puts in the residual stream at the answer of another run."""

    def take(self, x, layer, view):
        return view.at(x, view.answer)

    def put(self, x, taken, layer, view):
        x[torch.arange(len(x)), view.k + view.answer] = taken
        return x


class Patched(WritingProbe):
    name = "patched"

    def writes(self):
        return {f"layer {i}": AtAnswer(f"blocks.{i}.hook_resid_post", donor="") for i in (1, 4)}


@pytest.mark.slow
def test_a_probe_that_writes_conforms(model):
    ps.check_probe(Patched(), model)


def test_the_model_is_left_as_it_was():
    """Whatever a faulty probe does to hooks and settings is undone."""
    model = ps.load_model("embedded-causal")
    before = model.identity
    for fault in (LeavesAHook, ChangesTheDefaultType):
        with pytest.raises(ps.ProbeCheckError):
            ps.check_probe(fault(), model, only=["no hook left after success", "global settings unchanged"])
    assert model.identity == before and torch.get_default_dtype() == torch.float32
