"""A prompt in a plain call of transformers: as embeddings, or as a cache of keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from promptscope.errors import PromptError
from promptscope.models import HookedModel, prefix_of
from promptscope.models.layout import to_right_padding
from promptscope.models.placement import Placement


def inputs_embeds(
    placement: Placement, model: HookedModel, ids: Int[Tensor, "B n"], mask: Int[Tensor, "B n"] | None
) -> dict[str, Tensor]:
    """See `Prompt.inputs_embeds`."""
    if placement.vectors is None or placement.parts:
        raise PromptError(
            "a deep prompt is keys and values in every layer, not embeddings: use prompt.past_key_values(model, batch) "
            "on a causal model"
        )
    ids, mask = _checked(model, ids, mask, placement.length)
    vectors = placement.vectors.to(model.dtype).expand(len(ids), -1, -1)
    embeds = model.inputs(torch.cat([vectors, model.embed(_right(ids, mask))], dim=1))
    mask = torch.cat([mask.new_ones(len(ids), placement.length), _right(mask, mask)], dim=1)
    if model.family.kind != "causal":  # positions count from the first prompt position by themselves
        return {"inputs_embeds": embeds, "attention_mask": mask}
    # New tokens come at the end of a row: padding goes to its beginning.
    order = torch.argsort(mask, dim=1, stable=True)
    mask = mask.gather(1, order)
    embeds = embeds.gather(1, order[..., None].expand_as(embeds))
    return {"inputs_embeds": embeds, "attention_mask": mask, **model.told_positions(_positions(mask))}


def past_key_values(placement: Placement, model: HookedModel, batch: Any, copies: int) -> dict[str, Any]:
    """See `Prompt.past_key_values`."""
    ids, mask = _ids_and_mask(batch)
    if model.family.kind != "causal":
        raise PromptError(
            f"past_key_values before a text exist for causal models, and {model.name!r} is a {model.family.kind} "
            "model, whose cache holds nothing that a text attends to: use prompt.inputs_embeds (input-level prompts), "
            "or model.logits and ps.generate"
        )
    ids, mask = _checked(model, ids, mask, placement.length)
    prefix = prefix_of(placement, model)
    if len(prefix.layers) < model.shape.n_layers or prefix.gaps:
        seen = sorted(prefix.layers)
        raise PromptError(
            "a cache of transformers has the same positions in every layer, and this prompt is seen in layers "
            f"{seen} of {model.shape.n_layers} only{' and has hidden positions' if prefix.gaps else ''}: use "
            "model.logits and ps.generate"
        )
    if model.counts_columns and not bool(mask.all()):
        raise PromptError(
            f"attention of {model.name!r} counts columns (a window, or a bias by distance), and padding between prompt "
            "and text would be counted: give texts of one length, or use model.logits and ps.generate"
        )
    order = torch.argsort(mask, dim=1, stable=True)
    ids, mask = ids.gather(1, order), mask.gather(1, order)
    whole = torch.cat([mask.new_ones(len(ids), placement.length), mask], dim=1)
    return {
        "input_ids": ids,
        "attention_mask": whole,
        **model.told_positions(_positions(whole)[:, placement.length :]),
        "past_key_values": prefix.cache(len(ids) * copies),
    }


def _checked(model: HookedModel, ids: Any, mask: Any, k: int) -> tuple[Tensor, Tensor]:
    ids, mask = model.check_inputs(ids, mask)
    model.check_context(ids.shape[1], k)
    return ids, mask.long()


def _right(x: Int[Tensor, "B n"], mask: Int[Tensor, "B n"]) -> Int[Tensor, "B n"]:
    return x.gather(1, to_right_padding(mask))


def _positions(mask: Int[Tensor, "B t"]) -> Int[Tensor, "B t"]:
    return (mask.cumsum(dim=1) - 1).clamp_min(0)


def _ids_and_mask(batch: Any) -> tuple[Any, Any]:
    """Take ids and mask of what a tokenizer returns, of a `Batch`, or of ids alone."""
    if isinstance(batch, Tensor):
        return batch, None
    if isinstance(batch, Mapping) or hasattr(batch, "keys"):
        if "input_ids" in batch:
            return batch["input_ids"], batch.get("attention_mask")
    elif hasattr(batch, "input_ids"):
        return batch.input_ids, getattr(batch, "attention_mask", None)
    raise PromptError(
        "a batch is what a tokenizer returns (input_ids and attention_mask), or input_ids alone, not "
        f"{type(batch).__name__}: tokenizer(texts, return_tensors='pt', padding=True)"
    )
