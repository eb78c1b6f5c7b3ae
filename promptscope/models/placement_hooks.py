"""The definition of what a prompt does: its placement as hooks over the layout `[k slots | text]`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.models.attached import Hook
from promptscope.models.placement import Placement
from promptscope.models.rotary import turned_back

if TYPE_CHECKING:
    from promptscope.models.hooked import HookedModel

Write = Callable[..., Tensor | None]


def hooks_of(placement: Placement, model: HookedModel) -> list[Hook]:
    """Return *placement* as `(hook point, function)` pairs.

    Vectors are written over the placeholders at `embed.hook_out`, keys and values at `hook_k` and `hook_v` of their
    layers. Where nothing is written, and at hidden positions, no query sees the placeholders.
    """
    placement = turned_back(placement, model)
    hooks: list[Hook] = []
    if placement.vectors is not None:
        hooks.append(("embed.hook_out", _write(placement.vectors)))
    slots = placement.slots(model)
    for name, attention in model.family.attentions.items():
        if attention.keys not in slots:
            continue
        part = placement.parts.get(name)
        for layer in range(model.layers[attention.stack]):
            where = f"{attention.stack}.{layer}.{attention.module}"
            hidden: Sequence[int] = placement.hidden
            if part is not None and layer in part.layers:
                row = part.layers.index(layer)
                for role, numbers in (("k", part.keys), ("v", part.values)):
                    hooks.append((f"{where}.hook_{role}", _write(numbers[row].transpose(0, 1))))
            elif placement.vectors is None or attention.keys != "encoder":
                hidden = range(placement.length)
            if hidden:
                hooks.append((f"{where}.hook_attn_scores", _hide(hidden)))
    return hooks


def _write(rows: Float[Tensor, k * shape]) -> Write:
    def write(x: Float[Tensor, "B T *shape"], hook: object) -> Tensor | None:
        if x.shape[1] <= len(rows):  # a decoding step after a cache: the prompt is in the cache
            return None
        return torch.cat([rows.to(x).expand(len(x), *rows.shape), x[:, len(rows) :]], dim=1)

    return write


def _hide(positions: Sequence[int]) -> Write:
    columns = list(positions)

    def hide(scores: Float[Tensor, "B head T S"], hook: object) -> Tensor:
        # A finite number, not -inf: a placeholder's own row may have no other key, and must not be NaN. Finite in
        # float32 too, in which Llama takes its softmax whatever the dtype.
        lowest = max(torch.finfo(scores.dtype).min, torch.finfo(torch.float32).min)
        hidden = scores.clone()
        hidden[..., columns] = lowest
        return hidden

    return hide
