"""More faults that `check_probe` must catch and name: what is shared, what is left after errors, what is held."""

import gc
import logging
import os
import re
import threading
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import promptscope as ps
from promptscope.probes import Write
from tests.probes.test_check_probe import KEPT, Sound, capturing


class HooksEveryModule(Sound):
    def compute(self, entries):
        torch.nn.modules.module.register_module_full_backward_hook(lambda *_: None)
        return super().compute(entries)


class HooksAWeight(Sound):
    def compute(self, entries):
        weight = next(entries.model.twin.parameters()).requires_grad_(True)
        weight.register_hook(lambda gradient: 2 * gradient)
        weight.requires_grad_(False)
        return super().compute(entries)


class PatchesAClass(Sound):
    def compute(self, entries):
        old = torch.nn.LayerNorm.forward
        torch.nn.LayerNorm.forward = lambda self, x: old(self, x)
        return super().compute(entries)


class ReplacesAModule(Sound):
    def compute(self, entries):
        entries.model.twin.transformer.drop = torch.nn.Dropout(0.5).eval()
        return super().compute(entries)


class ChangesGeneration(Sound):
    def compute(self, entries):
        entries.model.twin.generation_config.max_length = 7
        return super().compute(entries)


class WritesAChatTemplate(Sound):
    def ready(self, model, task, prompts):
        model.tokenizer.chat_template = "{{ messages }}"
        return self


class FreezesThePrompt(Sound):
    def ready(self, model, task, prompts):
        for prompt in prompts.values():
            prompt.requires_grad_(False)
        return self

    def __deepcopy__(self, memo):
        return type(self)()


class PatchesSoftmax(Sound):
    def compute(self, entries):
        old = torch.nn.functional.softmax
        torch.nn.functional.softmax = lambda *args, **kwargs: old(*args, **kwargs)
        return super().compute(entries)


class SwitchesAKernel(Sound):
    def compute(self, entries):
        torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
        return super().compute(entries)


class SilencesLogging(Sound):
    def compute(self, entries):
        logging.getLogger("transformers").setLevel(51)
        return super().compute(entries)


class StopsCollecting(Sound):
    def compute(self, entries):
        gc.disable()
        return super().compute(entries)


DONE = threading.Event()


class LeavesAThread(Sound):
    def compute(self, entries):
        threading.Thread(target=DONE.wait, name="of the probe", daemon=True).start()
        return super().compute(entries)


class RegistersAProbe(Sound):
    def compute(self, entries):
        if "stray" not in ps.probes.PROBES:
            ps.register_probe(type("Stray", (Sound,), {"name": "stray"}))
        return super().compute(entries)


class PadsLeftUntilItComputes(Sound):
    def ready(self, model, task, prompts):
        model.tokenizer.padding_side = "left"
        return self

    def compute(self, entries):
        entries.model.tokenizer.padding_side = "right"
        return super().compute(entries)


class SetsTheEnvironmentUntilItComputes(Sound):
    def ready(self, model, task, prompts):
        os.environ["MY_PROBE"] = "is running"
        return self

    def compute(self, entries):
        del os.environ["MY_PROBE"]
        return super().compute(entries)


class DrawsItsPValue(Sound):
    def compute(self, entries):
        result = super().compute(entries)
        result.data["p_value"] = (result.dims, np.random.default_rng().random(result.values.shape))
        return result


class OwnResult(ps.ProbeResult):
    pass


class ReturnsASubclass(Sound):
    def compute(self, entries):
        return OwnResult(**vars(super().compute(entries)))


class NumbersAsKeys(Sound):
    def compute(self, entries):
        result = super().compute(entries)
        result.provenance["layers"] = {0: "first"}
        return result


class HoldsDates(Sound):
    def compute(self, entries):
        result = super().compute(entries)
        days = np.array(["2026-11-30"] * result.data.sizes["layer"], dtype="datetime64[ns]")
        result.data.coords["day"] = ("layer", days)
        return result


def _hoard_lists(self, x, layer, view):
    KEPT.append(x[:, :3].tolist())
    return x[:, 0].norm(dim=-1)


HoardsLists = capturing(_hoard_lists, "HoardsLists")


class KeepsWhatItComputes(Sound):
    def numbers(self, entries, prompt):
        KEPT.append(np.ones((len(entries.examples), 1000)))
        return super().numbers(entries, prompt)


@dataclass(frozen=True)
class Forgets(Write):
    def write(self, x, layer, view):
        new = x.clone()
        new[:, :, 0] = 0
        return x


class EditsNothing(Sound):
    def edits(self):
        return {"forgotten": [Forgets("blocks.1.hook_resid_post")]}


LAST: dict = {}


def _less_the_batch_before(self, x, layer, view):
    norm = view.at(x, view.answer).norm(dim=-1)
    less = norm - LAST.get(layer, 0.0)
    LAST[layer] = float(norm.mean())
    return less


RemembersTheBatchBefore = capturing(_less_the_batch_before, "RemembersTheBatchBefore")

FAULTS = [
    (HooksEveryModule, "no hook left after success", "all modules was 0 hooks and is 1 hooks"),
    (HooksAWeight, "no hook left after success", r"wte.*weight was absent and is 1 hooks"),
    (PatchesAClass, "model unchanged", "forward of the class LayerNorm"),
    (ReplacesAModule, "model unchanged", "module model.twin.transformer.drop"),
    (ChangesGeneration, "model unchanged", "generation config max_length was None and is 7"),
    (WritesAChatTemplate, "tokenizer unchanged", "chat_template was None and is {{ messages }}"),
    (FreezesThePrompt, "prompts unchanged", "v1 requires_grad"),
    (PatchesSoftmax, "global settings unchanged", "torch.nn.functional softmax"),
    (SwitchesAKernel, "global settings unchanged", "torch.backends cudnn.benchmark was False and is True"),
    (SilencesLogging, "global settings unchanged", "logging levels transformers"),
    (StopsCollecting, "global settings unchanged", "garbage collection was True and is False"),
    (LeavesAThread, "global settings unchanged", "running threads"),
    (RegistersAProbe, "global settings unchanged", "registered probes"),
    (PadsLeftUntilItComputes, "unchanged after an exception", "tokenizer changed: padding_side was right and is left"),
    (SetsTheEnvironmentUntilItComputes, "unchanged after an exception", "environment MY_PROBE"),
    (DrawsItsPValue, "deterministic", "p_value"),
    (ReturnsASubclass, "result saves and loads", "OwnResult"),
    (NumbersAsKeys, "result saves and loads", "provenance"),
    (HoldsDates, "result saves and loads", "day"),
    (HoardsLists, "memory flat in inputs", "after the passes.*Python objects"),
    (KeepsWhatItComputes, "memory flat in inputs", "when its result is gone"),
    (EditsNothing, "edits act", "'forgotten'"),
    (RemembersTheBatchBefore, "order of inputs", "reverse order"),
]
_FAST = (PadsLeftUntilItComputes, EditsNothing)


@pytest.fixture(scope="module")
def model():
    return ps.load_model("embedded-causal")


@pytest.mark.parametrize(
    ("fault", "check", "seen"),
    [pytest.param(*row, id=row[0].__name__, marks=() if row[0] in _FAST else pytest.mark.slow) for row in FAULTS],
)
def test_a_planted_fault_is_caught_and_named(fault, check, seen, model):
    KEPT.clear()
    LAST.clear()
    DONE.clear()
    with pytest.raises(ps.ProbeCheckError) as caught:
        ps.check_probe(fault(), model, {"v1": ps.SoftPrompt(3, seed=1)}, only=[check])
    KEPT.clear()
    DONE.set()
    assert re.search(seen, caught.value.failed[check]), caught.value.failed


class Tokenizes(Sound):
    """Calls the tokenizer, which keeps the padding and truncation of its last call."""

    def ready(self, model, task, prompts):
        model.tokenizer(["a", "b c"], padding=True, truncation=True, max_length=8)
        return self


@pytest.mark.slow
def test_what_a_sound_probe_does_is_no_fault_and_nothing_is_left_of_the_others(model):
    assert len(ps.check_probe(Tokenizes(), model).passed) == 20
    assert "stray" not in ps.probes.PROBES and gc.isenabled() and "MY_PROBE" not in os.environ
