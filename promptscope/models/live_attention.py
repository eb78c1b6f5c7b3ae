"""Make attention scores and patterns of BERT and T5 real hook points.

The bridge leaves these families' attention to Hugging Face and reports pattern and scores after the fact, so
that a written value is dropped. Here the attention function itself calls the bridge's hook points.
"""

from typing import Any

import torch
from torch import nn
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.generalized_components.attention import AttentionBridge
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

_NAME = "promptscope_live"
_BRIDGE = "_promptscope_attention_bridge"


def _attend(
    module: nn.Module,
    query: torch.Tensor,  # (B, H, T, dh)
    key: torch.Tensor,  # (B, H, S, dh)
    value: torch.Tensor,  # (B, H, S, dh)
    attention_mask: torch.Tensor | None,  # additive, (B, 1, T, S)
    scaling: float | None = None,
    dropout: float = 0.0,
    position_bias: torch.Tensor | None = None,  # T5, (1, H, T, S)
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    scores = query @ key.transpose(2, 3) * (query.size(-1) ** -0.5 if scaling is None else scaling)
    if position_bias is not None:
        scores = scores + position_bias
    if attention_mask is not None:
        scores = scores + attention_mask
    bridge = module.__dict__.get(_BRIDGE)
    if bridge is not None:
        scores = bridge.hook_attn_scores(scores)
    pattern = torch.softmax(scores, dim=-1)
    pattern = nn.functional.dropout(pattern, p=dropout, training=module.training)
    if bridge is not None:
        pattern = bridge.hook_pattern(pattern)
    return (pattern @ value).transpose(1, 2).contiguous(), pattern


AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, eager_mask)


def make_attention_live(bridge: TransformerBridge, hf_model: PreTrainedModel) -> None:
    """Route the delegated attentions of *bridge* through hook points that a write acts on."""
    hf_model.set_attn_implementation(_NAME)
    for attention in (module for module in bridge.modules() if type(module) is AttentionBridge):
        inner = getattr(attention.original_component, "self", attention.original_component)
        inner.__dict__[_BRIDGE] = attention  # a plain attribute: as a submodule it would be a cycle
        # The after-the-fact report would fire the same hook points a second time.
        attention.__dict__["_fire_post_hoc_hook"] = lambda hook, tensor, label: tensor
