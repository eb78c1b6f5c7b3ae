"""What is changed after loading and is no weight: refused by name, since one half of the model knows nothing of it."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

import promptscope as ps
from promptscope.errors import ModelError
from tests.models.test_edited_weights import ATTENTION, FEED_FORWARD
from tests.tiny_models import FAMILIES, tiny_hf_model

IDS = torch.tensor([[5, 6, 7]])


@contextmanager
def put(thing: Any, name: str, value: Any) -> Iterator[None]:
    before = vars(thing).get(name, put)
    setattr(thing, name, value)
    try:
        yield
    finally:
        if before is put:
            delattr(thing, name)
        else:
            setattr(thing, name, before)


@contextmanager
def another_module(module: nn.Module, name: str, value: nn.Module) -> Iterator[None]:
    before = module._modules[name]
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def check_refused(model: ps.HookedModel, change: Any, match: str) -> None:
    before = model.logits(IDS)
    with change:
        for call in (model.logits, lambda ids: ps.generate(model, None, ids)):
            if model.family.kind != "masked" or call == model.logits:
                with pytest.raises(ModelError, match=match):
                    call(IDS)
    torch.testing.assert_close(model.logits(IDS), before, rtol=0, atol=0)


CHANGES: list[tuple[str, Callable[[ps.HookedModel, str], Any]]] = [
    ("`forward` of model.twin", lambda m, f: put(m.twin.get_submodule(FEED_FORWARD[f]), "forward", lambda x: x * 0)),
    ("`forward` of model.bridge", lambda m, f: put(point(m), "forward", in_our_name(lambda x: x * 0))),
    ("`forward` of model.bridge", lambda m, f: put(point(m), "forward", lambda x: x * 0)),
    (
        "the module .* of model.twin",
        lambda m, f: another_module(m.twin.get_submodule(FEED_FORWARD[f].rpartition(".")[0]), last(f), nn.Identity()),
    ),
    ("`_forward_hooks` of model.bridge", lambda m, f: put(point(m), "_forward_hooks", OrderedDict())),
    ("`scaling_of_mine`", lambda m, f: put(m.twin.get_submodule(ATTENTION[f]), "scaling_of_mine", 3.0)),
    (r"model.twin.* training mode.*model.twin.eval\(\)", lambda m, f: put(m.twin, "training", True)),
    (r"model.bridge.* training mode.*model.bridge.eval\(\)", lambda m, f: put(point(m), "training", True)),
    ("`is_decoder_of_mine` of model.twin.config", lambda m, f: put(m.twin.config, "is_decoder_of_mine", True)),
]


def in_our_name(function: Any) -> Any:
    function.__module__ = "promptscope.models.attached"  # as functools.wraps does
    return function


def point(model: ps.HookedModel) -> Any:
    return model.bridge.hook_dict[model.family.embedding]


def last(family: str) -> str:
    return FEED_FORWARD[family].rpartition(".")[2]


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=() if name in ("gpt2", "t5") else pytest.mark.slow) for name in FAMILIES]
)
def test_a_change_that_one_half_does_not_know_is_refused_by_name(family: str) -> None:
    model = ps.load_model(tiny_hf_model(family))
    for match, change in CHANGES:
        check_refused(model, change(model, family), match)


def test_attributes_that_decide_the_numbers_are_refused() -> None:
    llama, gpt2 = ps.load_model(tiny_hf_model("llama")), ps.load_model(tiny_hf_model("gpt2"))
    attention = llama.twin.model.layers[1].self_attn
    check_refused(llama, put(attention, "scaling", 2.0), "`scaling` of model.twin.model.layers.1.self_attn is 2.0, and")
    check_refused(llama, put(llama.twin.model.norm, "variance_epsilon", 0.5), "`variance_epsilon`")
    check_refused(gpt2, put(gpt2.twin.transformer.h[0].attn, "scale_attn_weights", False), "`scale_attn_weights`")


def test_what_is_put_back_and_what_hooks_leave_behind_is_no_change() -> None:
    model = ps.load_model(tiny_hf_model("gpt2"))
    before = model.logits(IDS)
    layer = model.twin.transformer.h[0].mlp
    layer.forward = layer.forward  # as code does that puts another there for a while
    with model.bridge.hooks(fwd_hooks=[("blocks.1.mlp.hook_out", lambda x, hook: x * 2)]):
        assert not torch.allclose(model.logits(IDS), before)
    model.bridge.hook_dict["blocks.1.mlp.hook_out"].add_hook(lambda x, hook: None, dir="bwd")
    model.bridge.reset_hooks()
    torch.testing.assert_close(model.logits(IDS), before, rtol=0, atol=0)
