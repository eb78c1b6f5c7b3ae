"""Small prompts of every kind, to test whether all ways of running a prompt agree on a model."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from promptscope.models.frozen import FrozenModel
from promptscope.models.measuring import tiny_ids
from promptscope.models.placement import KeysValues, Placement


def sample_placements(model: FrozenModel, k: int = 3) -> dict[str, Placement]:
    """Return placements of *k* positions by description: vectors; keys and values in all layers; in one layer."""
    vectors = model.embed(tiny_ids(model.twin, k, seed=2))[0].flip(0)
    found = {"vectors at the positions of a prompt": Placement(k, vectors)}
    if why_no_keys(model, model.family.attentions) is not None:
        return found
    n = {part: model.layers[attention.stack] for part, attention in model.family.attentions.items()}
    found["keys and values in every layer"] = Placement(k, None, {p: _drawn(model, k, range(n[p])) for p in n})
    if max(n.values()) > 1:
        last = {part: [layers - 1] for part, layers in n.items()}
        found["keys and values in one layer"] = Placement(k, None, {p: _drawn(model, k, last[p]) for p in n})
    return found


def why_no_keys(model: FrozenModel, parts: Iterable[str]) -> str | None:
    """Return the reason why keys and values cannot be written to the attentions *parts*, or None if they can."""
    family = model.family
    for part in parts:
        attention = family.attentions[part]
        for role in ("k", "v"):
            site = f"{attention.stack}.{{i}}.{attention.module}.hook_{role}"
            if not family.has(site):
                return f"{site} {family.missing.get(site, 'does not exist')}"
    return None


def _drawn(model: FrozenModel, k: int, layers: range | list[int]) -> KeysValues:
    shape, generator = model.shape, torch.Generator().manual_seed(0)
    both = torch.randn(2, len(layers), shape.n_kv_heads, k, shape.d_head, generator=generator) / 2
    keys, values = both.to(model.device, model.dtype)
    return KeysValues(keys, values, tuple(layers))
