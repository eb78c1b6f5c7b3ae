"""Splitting of modules that are shared or fused, so that each hook point has its own: shared layers, fused projections.

Weights stay the same tensors, or views of them.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def untie_layers(twin: PreTrainedModel) -> None:
    """Give every layer of an ALBERT its own module; the weights stay shared within a group."""
    if twin.config.model_type != "albert":
        return
    encoder: Any = twin.base_model.encoder
    n, groups = twin.config.num_hidden_layers, list(encoder.albert_layer_groups)
    shared = {id(tensor): tensor for group in groups for tensor in (*group.parameters(), *group.buffers())}
    configs = {id(twin.config): twin.config}
    layers = [copy.deepcopy(groups[i * len(groups) // n], memo={**shared, **configs}) for i in range(n)]
    encoder.albert_layer_groups = nn.ModuleList(layers)
    for config in (twin.config, encoder.config):
        config.num_hidden_groups = n


def share_embedding(twin: PreTrainedModel) -> None:
    """Let an encoder-decoder call its encoder's embedding its input embedding, where it has one of its own.

    Untied, BART's kin keep a third one, `shared`, which nothing reads.
    """
    base: Any = twin.base_model
    if not twin.config.is_encoder_decoder or not isinstance(getattr(base, "shared", None), nn.Embedding):
        return
    encoder: Any = twin.get_encoder()
    own = getattr(encoder, "embed_tokens", None)
    if isinstance(own, nn.Embedding) and own.weight is not base.shared.weight:
        base.shared = own


def split_projections(inner: PreTrainedModel) -> None:
    """Split fused projections into query, key and value, each called once in a pass; in the bridge's copy only."""
    base: Any = inner.base_model
    if inner.config.model_type == "modernbert":
        for layer in base.layers:
            layer.attn.Wqkv = SplitProjection(layer.attn.Wqkv)
    if inner.config.model_type == "deberta-v2":
        for layer in base.encoder.layer:
            attention = layer.attention.self
            if attention.share_att_key:  # relative positions go through the projections of the tokens
                attention.share_att_key = False
                attention.pos_query_proj = _same(attention.query_proj)
                attention.pos_key_proj = _same(attention.key_proj)


def own_buffers(inner: PreTrainedModel) -> None:
    """Copy buffers that a bridge changes in place: BART's `final_logits_bias`, which it adds to the head."""
    for module in inner.modules():
        if (added := module._buffers.get("final_logits_bias")) is not None:
            module._buffers["final_logits_bias"] = added.clone()


class SplitProjection(nn.Module):
    """One of the three linear layers (query, key, value) of a fused one, with a view of its weight."""

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        weights = fused.weight.detach().chunk(3)
        biases = (None,) * 3 if fused.bias is None else fused.bias.detach().chunk(3)
        self.query, self.key, self.value = (plain_linear(w, b) for w, b in zip(weights, biases, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.query(x), self.key(x), self.value(x)], dim=-1)


def plain_linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Return a frozen linear layer that holds these very tensors."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


def _same(projection: nn.Linear) -> nn.Linear:
    return plain_linear(projection.weight.detach(), None if projection.bias is None else projection.bias.detach())
