"""Keys before and after the rotary embedding, at prompt positions 0..k-1."""

import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.models import HookedModel, rotate


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


def _cos_sin(keys: Tensor, model: HookedModel) -> tuple[Tensor, Tensor] | None:
    if not model.family.rotary:
        return None
    positions = torch.arange(keys.shape[2], device=model.device)[None]
    cos, sin = model.twin.base_model.get_submodule("rotary_emb")(
        keys, positions
    )  # (1, k, rotary), in the dtype of keys
    return cos[:, None], sin[:, None]
