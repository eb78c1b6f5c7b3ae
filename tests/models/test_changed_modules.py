"""What is changed after loading and is no weight: refused by name, since one half of the model knows nothing of it."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn
from transformers.models.llama import modeling_llama

import promptscope as ps
from promptscope.errors import ModelError
from tests.models.test_edited_weights import ATTENTION, FEED_FORWARD
from tests.models.zoo import make
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


def zero(*args: Any, **options: Any) -> Any:
    return args[1] * 0


def test_code_that_is_replaced_for_all_models_is_refused_by_name() -> None:
    model = ps.load_model(tiny_hf_model("llama"))
    check_refused(model, put(modeling_llama.LlamaMLP, "forward", zero), "`forward` of LlamaMLP, which the model runs")
    check_refused(model, put(modeling_llama, "apply_rotary_pos_emb", zero), "`apply_rotary_pos_emb` of transformers")


def test_code_that_was_replaced_before_loading_is_part_of_what_the_model_is() -> None:
    plain = ps.load_model(tiny_hf_model("llama")).identity
    assert "code" not in plain
    own = modeling_llama.LlamaMLP.forward
    found = []
    for factor in (2.0, 3.0):
        with put(modeling_llama.LlamaMLP, "forward", lambda self, x, factor=factor: own(self, x) * factor):
            found.append(ps.load_model(tiny_hf_model("llama")).identity)
    assert list(found[0]["code"]) == ["LlamaMLP.forward"]
    assert len({one["code"]["LlamaMLP.forward"] for one in found}) == 2
    assert all({**one, "code": None} == {**plain, "code": None} for one in found)


def test_a_method_that_begins_with_an_underscore_is_no_cache() -> None:
    model = ps.load_model(make("gptj"))
    check_refused(model, put(model.twin.transformer.h[1].attn, "_attn", zero), "`_attn` of model.twin.transformer.h.1")


def test_settings_of_the_bridge_are_refused() -> None:
    model = ps.load_model(tiny_hf_model("gpt2"))
    change = put(model.bridge.cfg, "scale_attn_by_inverse_layer_idx", True)
    check_refused(model, change, "`scale_attn_by_inverse_layer_idx` of model.bridge.cfg")


@contextmanager
def hooked_by_pytorch(module: nn.Module) -> Iterator[None]:
    handle = module.register_forward_hook(zero)
    try:
        yield
    finally:
        handle.remove()


def test_what_is_done_to_the_model_that_was_handed_in_is_refused() -> None:
    """It has no effect: an ablation would read as doing nothing."""
    own = tiny_hf_model("llama").train()
    model = ps.load_model(own)
    own.eval()  # of no concern to the hooked model, which never is in training mode
    own(IDS, output_hidden_states=True)  # transformers leaves hooks of its own, which only look
    mlp = own.model.layers[1].mlp
    check_refused(
        model, hooked_by_pytorch(mlp), r"handed in.model.layers.1.mlp has a PyTorch hook.*would have no effect"
    )
    check_refused(model, another_module(mlp, "act_fn", nn.Identity()), "'act_fn' of the model that was handed in")
    check_refused(
        model, put(mlp, "forward", zero), "`forward` of the model that was handed in.*no effect on the hooked model"
    )
    check_refused(model, put(own.config, "rms_norm_eps", 0.5), "`rms_norm_eps` of the model that was handed in.config")
