"""Booting a bridge: what a copy of it calls, and what is said of a model that it cannot take."""

import copy
from typing import Any

import pytest
import torch
from transformers import CodeGenConfig, CodeGenForCausalLM

import promptscope as ps
import promptscope.models.twin
from promptscope import ModelError
from promptscope.models.twin import boot_bridge
from tests.models.zoo import make

_IDS = torch.arange(5, 12)[None]


@pytest.mark.parametrize("name", ["gptj", "opt"])  # attention in its own code; through the interface of transformers
def test_a_copied_bridge_calls_its_own_hook_points(name: str) -> None:
    bridge = boot_bridge(make(name))
    copied, seen = copy.deepcopy(bridge), []
    point = "blocks.1.attn.hook_pattern"
    with (
        bridge.hooks(fwd_hooks=[(point, lambda pattern, hook: seen.append("original"))]),
        copied.hooks(fwd_hooks=[(point, lambda pattern, hook: seen.append("copy"))]),
    ):
        copied(_IDS)
        bridge(_IDS)
    assert seen == ["copy", "original"]


def test_an_option_that_the_bridge_cannot_take_is_a_model_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("split_with_sizes expects split_sizes to sum exactly to 64")

    monkeypatch.setattr(promptscope.models.twin, "build_bridge_from_module", refuse)
    with pytest.raises(ModelError, match=r"bridge for this GPTJForCausalLM \(split_with_sizes.*option in its config"):
        boot_bridge(make("gptj"))


def test_memory_that_runs_out_is_not_called_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("no memory is left")

    monkeypatch.setattr(promptscope.models.twin, "build_bridge_from_module", refuse)
    with pytest.raises(torch.OutOfMemoryError, match="no memory is left"):
        boot_bridge(make("gptj"))


def test_a_model_that_does_not_run_by_itself_is_named() -> None:
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": 160}
    wrong = CodeGenForCausalLM(CodeGenConfig(**sizes, rotary_dim=64))  # of heads of width 8
    with pytest.raises(ModelError, match=r"CodeGenForCausalLM .* fails on a few tokens without any change.*size"):
        ps.load_model(wrong)
