"""Greedy continuations of a text with vectors written over the residual stream of its placeholders."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from promptscope.models import Hook, HookedModel, Prefix
from promptscope.models.attached import attach
from promptscope.readings.residual import patch


@torch.no_grad()
def patched_continuations(
    model: HookedModel,
    head: Int[Tensor, "n"],
    tail: Int[Tensor, "m"],
    vectors: Float[Tensor, "B k d_model"],
    layers: Int[Tensor, "B"],
    max_new_tokens: int,
    batch_size: int = 32,
) -> list[list[int]]:
    """Return, for each of B rows, the greedy continuation of `head + tail` with vectors written at the start of *tail*.

    Row b writes its k vectors (of *vectors*, (B, k, d_model)) over the residual stream of the first k tokens of *tail*,
    after layer `layers[b]` (-1: before the first layer). Text before the placeholders does not attend to them, so its
    keys and values are computed once; later tokens read the written vectors through the keys and values of the
    placeholders. While hooks are attached, or where the model has a cache of its own, every step computes the whole
    text again, so that hooks always get the same layout.
    """
    model.rules.check_context(len(head) + len(tail) + max_new_tokens)
    if model.active_hooks() or not model.facts.shares_cache:
        return _continue_hooked(model, head, tail, vectors, layers, max_new_tokens, batch_size)
    prefix = _prefix(model, head)
    rows = range(0, len(vectors), batch_size)
    return [
        text
        for start in rows
        for text in _continue(
            model,
            prefix,
            tail,
            vectors[start : start + batch_size],
            layers[start : start + batch_size],
            max_new_tokens,
        )
    ]


def _prefix(model: HookedModel, head: Int[Tensor, "n"]) -> Prefix:
    # A cache without the model's config: one with it would keep of a layer with a window no more than that.
    cache: Any = DynamicCache()
    model.twin.base_model(input_ids=head[None].to(model.device), past_key_values=cache, use_cache=True)
    layers = range(model.shape.n_layers)
    return Prefix(
        tuple(cache.layers[i].keys for i in layers), tuple(cache.layers[i].values for i in layers), frozenset(layers)
    )


def _continue(
    model: HookedModel,
    prefix: Prefix,
    tail: Int[Tensor, "m"],
    vectors: Float[Tensor, "B k d_model"],
    layers: Int[Tensor, "B"],
    n_new: int,
) -> list[list[int]]:
    size, n_seen = len(vectors), prefix.length + len(tail)
    cache = prefix.cache(size)
    device = model.device
    positions = torch.arange(prefix.length, n_seen, device=device)
    with attach(model.bridge, last=_patches(vectors, layers, 0, device)):
        logits = model.bridge.original_model(
            input_ids=tail.to(device).expand(size, -1),
            attention_mask=torch.ones(size, n_seen, dtype=torch.long, device=device),
            past_key_values=cache,
            use_cache=True,
            **model.told_positions(positions.expand(size, -1)),
        ).logits[:, -1]
    new = logits.argmax(-1, keepdim=True)
    while new.shape[1] < n_new:
        n_seen += 1
        hidden = model.twin.base_model(
            input_ids=new[:, -1:],
            attention_mask=torch.ones(size, n_seen, dtype=torch.long, device=device),
            past_key_values=cache,
            use_cache=True,
            **model.told_positions(torch.full((size, 1), n_seen - 1, device=device)),
        ).last_hidden_state
        new = torch.cat([new, model.unembed(hidden[:, -1]).argmax(-1, keepdim=True)], dim=1)
    return new.tolist()


def _continue_hooked(
    model: HookedModel,
    head: Int[Tensor, "n"],
    tail: Int[Tensor, "m"],
    vectors: Float[Tensor, "B k d_model"],
    layers: Int[Tensor, "B"],
    n_new: int,
    batch_size: int,
) -> list[list[int]]:
    rows: list[list[int]] = []
    for start in range(0, len(vectors), batch_size):
        part = vectors[start : start + batch_size]
        hooks = _patches(part, layers[start : start + batch_size], len(head), model.device)
        text = torch.cat([head, tail]).to(model.device).expand(len(part), -1)
        for _ in range(n_new):
            last = model.forward_hooked(text, hooks=hooks)[:, -1]
            text = torch.cat([text, last.argmax(-1, keepdim=True)], dim=1)
        rows += text[:, len(head) + len(tail) :].tolist()
    return rows


def _patches(
    vectors: Float[Tensor, "B k d_model"], layers: Int[Tensor, "B"], start: int, device: torch.device
) -> list[Hook]:
    hooks = []
    for layer in layers.unique().tolist():
        at = torch.nonzero(layers == layer)[:, 0]
        hooks.append(patch(vectors[at], layer, start, rows=at.to(device)))
    return hooks
