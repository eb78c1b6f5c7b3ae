"""The self-test must notice sabotage: each way in which a hook can silently do nothing."""

import dataclasses
from typing import Any

import pytest
import torch
from transformer_lens.hook_points import HookPoint as BridgePoint
from transformers import BertConfig, BertLMHeadModel

import promptscope.models.twin
from promptscope.errors import ModelError
from promptscope.models import HookedModel, HookPoint, load_model
from promptscope.models.self_test import self_test
from tests.tiny_models import tiny_hf_model


@pytest.fixture
def model() -> HookedModel:
    return load_model(tiny_hf_model("llama"))


def test_passes_untouched(model: HookedModel) -> None:
    self_test(model)


def test_bridge_computes_something_else(model: HookedModel) -> None:
    model.bridge.hook_dict["blocks.1.hook_out"].add_hook(lambda x, hook: x * 1.01, is_permanent=True)
    with pytest.raises(ModelError, match=r"logits differ from the plain model's by .*constraints.txt"):
        self_test(model)


def test_bridge_computes_nan(model: HookedModel) -> None:
    model.bridge.hook_dict["blocks.1.hook_out"].add_hook(lambda x, hook: x * float("nan"), is_permanent=True)
    with pytest.raises(ModelError, match=r"NaN or infinite numbers at blocks\.1"):
        self_test(model)


def test_a_point_that_fires_twice(model: HookedModel) -> None:
    twice = model.bridge.hook_dict["blocks.2.attn.hook_z"]
    model.bridge.hook_dict["blocks.0.mlp.hook_post"].register_forward_hook(
        lambda module, inputs, output: (twice(torch.zeros(2, 5, 4, 8)), None)[1]
    )
    with pytest.raises(ModelError, match=r"exactly once.*'blocks\.2\.attn\.hook_z': 2"):
        self_test(model)


def test_a_point_that_never_fires(model: HookedModel) -> None:
    dead = HookPoint("rotary_emb.hook_out", "", "")  # exists in the bridge, and nothing calls it
    model.family = dataclasses.replace(model.family, points=(*model.family.points, dead))
    with pytest.raises(ModelError, match=r"exactly once.*'rotary_emb\.hook_out': 0"):
        self_test(model)


def test_a_point_whose_write_is_dropped(model: HookedModel) -> None:
    """A point that sees a copy: it fires once, its value is right, and what is written goes nowhere."""
    for block in model.bridge.blocks:
        block.hook_copy = BridgePoint()
        block.hook_in.register_forward_hook(lambda _, inputs, output, block=block: (block.hook_copy(output), None)[1])
    model.bridge.clear_hook_registry()
    model.bridge._initialize_hook_registry()
    model._weights = None  # the bridge is meant to have been so when it was made
    copy = HookPoint("hook_copy", "batch pos d_model", "a copy of the residual stream", stack="blocks")
    model.family = dataclasses.replace(model.family, points=(*model.family.points, copy))
    with pytest.raises(ModelError, match=r"did not change the logits.*'blocks\.0\.hook_copy'"):
        self_test(model)


@pytest.mark.filterwarnings("ignore")  # the bridge may say itself that it drops the write
@pytest.mark.parametrize("family", ["bert", "t5"])
def test_without_live_attention_patterns_are_missing(family: str, monkeypatch: Any) -> None:
    """The bridge alone reports BERT's and T5's patterns after the fact: they are then no hook points."""
    monkeypatch.setattr(promptscope.models.twin, "make_attention_live", lambda bridge, hf_model: None)
    model = load_model(tiny_hf_model(family))
    assert not [name for name in model.hook_points()["name"] if "pattern" in name or "scores" in name]
    with pytest.raises(ModelError, match=r"no hook point 'attn.hook_pattern' on a .* model: .*(does not act|fires)"):
        model.site("attn.hook_pattern")


def test_a_causal_model_that_sees_later_tokens_is_refused() -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    with pytest.raises(ModelError, match=r"BertLMHeadModel .* attends to later tokens.*is_decoder = True"):
        load_model(BertLMHeadModel(BertConfig(**sizes, vocab_size=99)))
    assert load_model(BertLMHeadModel(BertConfig(**sizes, vocab_size=99, is_decoder=True))).family.kind == "causal"
