"""Keys before and after the rotary embedding, at prompt positions 0..k-1."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.models.placement import Placement
from promptscope.models.prefix import rotate

if TYPE_CHECKING:
    from promptscope.models.hooked import HookedModel


def after_rotary(keys: Float[Tensor, "L kv_head k d_head"], model: HookedModel) -> Float[Tensor, "L kv_head k d_head"]:
    """Turn keys as the model would at positions 0..k-1; models without rotary embedding keep them."""
    angles = _cos_sin(keys, model)
    return keys if angles is None else rotate(keys, *angles)


def before_rotary(keys: Float[Tensor, "L kv_head k d_head"], model: HookedModel) -> Float[Tensor, "L kv_head k d_head"]:
    """Undo `after_rotary`: prefix-tuning adapters of PEFT hold keys as they stand in the cache."""
    angles = _cos_sin(keys, model)
    if angles is None:
        return keys
    cos, sin = angles
    scale = cos**2 + sin**2  # 1, but for YaRN and its kin, which stretch keys as well as turn them
    return rotate(keys, cos / scale, -sin / scale)


def turned_back(placement: Placement, model: HookedModel) -> Placement:
    """Return *placement* with all its keys before the rotary embedding."""
    if not any(part.after_rotary for part in placement.parts.values()):
        return placement
    parts = {
        name: replace(part, keys=before_rotary(part.keys, model), after_rotary=False) if part.after_rotary else part
        for name, part in placement.parts.items()
    }
    return replace(placement, parts=parts)


def _cos_sin(keys: Tensor, model: HookedModel) -> tuple[Tensor, Tensor] | None:
    if not model.family.rotary:
        return None
    positions = torch.arange(keys.shape[2], device=model.device)[None]
    cos, sin = model.twin.base_model.get_submodule("rotary_emb")(
        keys, positions
    )  # (1, k, rotary), in the dtype of keys
    return cos[:, None], sin[:, None]
