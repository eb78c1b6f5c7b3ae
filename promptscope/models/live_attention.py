"""Hook points for attention scores and patterns that act, in models whose attention the bridge leaves to transformers.

There, the bridge reports scores and patterns after they were used, or not at all, so that a written value has no
effect. This module lets the attention computation itself call the hook points: through the attention function, if the
model takes one from transformers' registry, and otherwise around the softmax in the model's own attention code.
"""

from collections.abc import Callable
from functools import wraps
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.generalized_components.attention import AttentionBridge
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

_NAME = "promptscope_live"
_BRIDGE = "_promptscope_attention_bridge"


def _attend(
    module: nn.Module,
    query: Tensor,  # (B, H, T, dh)
    key: Tensor,  # (B, Hkv, S, dh)
    value: Tensor,  # (B, Hkv, S, dh)
    attention_mask: Tensor | None,  # additive, (B, 1, T, S)
    scaling: float | None = None,
    dropout: float = 0.0,
    position_bias: Tensor | None = None,  # T5, (1, H, T, S)
    softcap: float | None = None,
    s_aux: Tensor | None = None,  # sinks, (H,)
    **_: Any,
) -> tuple[Tensor, Tensor]:
    if query.shape[1] != key.shape[1]:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = query @ key.transpose(2, 3) * (query.size(-1) ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if position_bias is not None:
        scores = scores + position_bias
    if attention_mask is not None:
        scores = scores + attention_mask[..., : scores.shape[-1]]
    bridge = module.__dict__.get(_BRIDGE)
    if bridge is not None:
        scores = bridge.hook_attn_scores(scores)
    pattern = _softmax(scores, s_aux)
    pattern = nn.functional.dropout(pattern, p=dropout, training=module.training)
    if bridge is not None:
        pattern = bridge.hook_pattern(pattern)
    return (pattern @ value).transpose(1, 2).contiguous(), pattern


def _softmax(scores: Tensor, sinks: Tensor | None) -> Tensor:
    if sinks is None:
        return torch.softmax(scores, dim=-1)
    column = sinks.to(scores)[None, :, None, None].expand(scores.shape[0], -1, scores.shape[2], 1)
    return torch.softmax(torch.cat([scores, column], dim=-1), dim=-1)[..., :-1]


AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, eager_mask)


class _AroundSoftmax(TorchFunctionMode):
    """Calls the hook points of scores and pattern before and after the softmax in a model's own attention code."""

    def __init__(self, bridge: AttentionBridge, n_heads: int) -> None:
        super().__init__()
        self.bridge, self.n_heads = bridge, n_heads

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if function not in (torch.softmax, nn.functional.softmax, Tensor.softmax):
            return function(*args, **kwargs)
        scores, *rest = args if args else (kwargs.pop("input"),)
        flat = scores.ndim == 3  # (B * H, T, S)
        scores = self.bridge.hook_attn_scores(scores.unflatten(0, (-1, self.n_heads)) if flat else scores)
        pattern = self.bridge.hook_pattern(function(scores, *rest, **kwargs))
        return pattern.flatten(0, 1) if flat else pattern


def make_attention_live(bridge: TransformerBridge, hf_model: PreTrainedModel) -> None:
    """Let the attentions that *bridge* leaves to transformers call hook points at which writing has an effect."""
    delegated = [module for module in bridge.modules() if type(module) is AttentionBridge]
    if not delegated:
        return
    asks = _ask_for_a_function(delegated)
    if asks:
        hf_model.set_attn_implementation(_NAME)
    for attention in delegated:
        # The after-the-fact report would fire the same hook points a second time.
        attention.__dict__["_fire_post_hoc_hook"] = lambda hook, tensor, label: tensor
        original: Any = attention.original_component
        for module in original.modules():
            module.__dict__[_BRIDGE] = attention  # a plain attribute: as a submodule it would be a cycle
        if not asks:
            # Bound to its module, so that a copied bridge calls its own hook points.
            original.__dict__["forward"] = MethodType(_with_hooked_softmax(type(original).forward), original)


def _with_hooked_softmax(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return an attention's *forward* with hook points; transformer-lens reads its signature."""

    @wraps(forward)
    def hooked(attention: nn.Module, *args: Any, **kwargs: Any) -> Any:
        bridge = attention.__dict__[_BRIDGE]
        with _AroundSoftmax(bridge, bridge.config.n_heads):
            return forward(attention, *args, **kwargs)

    return hooked


def _ask_for_a_function(delegated: list[AttentionBridge]) -> bool:
    """Return whether the attentions take their attention function from the registry of transformers."""
    originals = [attention.original_component for attention in delegated]
    names = {
        name
        for original in originals
        if original is not None
        for module in original.modules()
        for name in getattr(type(module).forward, "__code__", _attend.__code__).co_names
    }
    return "ALL_ATTENTION_FUNCTIONS" in names
