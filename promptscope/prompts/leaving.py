"""A prompt as arguments of a plain transformers model: embeddings, or a cache of keys and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import DynamicCache

from promptscope.errors import PromptError
from promptscope.models import HookedModel, prefix_of
from promptscope.models.layout import to_right_padding
from promptscope.models.placement import Placement


def inputs_embeds(
    placement: Placement, model: HookedModel, ids: Int[Tensor, "B n"], mask: Int[Tensor, "B n"] | None
) -> dict[str, Tensor]:
    """Implement `Prompt.inputs_embeds` for a placement."""
    if placement.vectors is None or placement.parts:
        raise PromptError(
            "inputs_embeds needs an input-level prompt, got a deep prompt (keys and values in every layer): use "
            "prompt.past_key_values(model, batch) on a causal model"
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
    """Implement `Prompt.past_key_values` for a placement."""
    ids, mask = _ids_and_mask(batch)
    if model.family.kind != "causal":
        raise PromptError(
            f"past_key_values can hold a prompt for causal models only, and {model.name!r} is a {model.family.kind} "
            "model: use prompt.inputs_embeds (for input-level prompts), or model.logits and ps.generate"
        )
    ids, mask = _checked(model, ids, mask, placement.length)
    prefix = prefix_of(placement, model)
    if len(prefix.layers) < model.shape.n_layers or prefix.gaps:
        seen = sorted(prefix.layers)
        raise PromptError(
            "a cache of transformers has the same positions in every layer, and this prompt has keys in layers "
            f"{seen} of {model.shape.n_layers} only{' and hidden positions' if prefix.gaps else ''}: use model.logits "
            "and ps.generate"
        )
    if model.counts_columns and not bool(mask.all()):
        raise PromptError(
            f"attention of {model.name!r} depends on the number of columns between tokens (a window, or a distance "
            "bias), so that padding between prompt and text would change results: give texts of equal length, or use "
            "model.logits and ps.generate"
        )
    order = torch.argsort(mask, dim=1, stable=True)
    ids, mask = ids.gather(1, order), mask.gather(1, order)
    whole = torch.cat([mask.new_ones(len(ids), placement.length), mask], dim=1)
    return {
        "input_ids": ids,
        "attention_mask": whole,
        **model.told_positions(_positions(whole)[:, placement.length :]),
        "past_key_values": OneUseCache(prefix.cache(len(ids) * copies), len(ids)),
    }


class OneUseCache(DynamicCache):
    """A prompt as a transformers cache that raises an error if it is used with another batch size or a second time.

    A forward pass appends its own keys to the cache, which a second call would read as if they were the prompt's.
    """

    def __init__(self, made: DynamicCache, texts: int) -> None:
        super().__init__()
        self.layers = made.layers
        self.length, self.texts, self.is_cropped = made.get_seq_length(), texts, False

    def crop(self, *arguments: Any, **options: Any) -> Any:
        """Shorten the cache, as assisted generation does before it appends several tokens."""
        self.is_cropped = True
        return super().crop(*arguments, **options)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **options: Any
    ) -> tuple[Tensor, Tensor]:
        """Append keys and values, and return all of them.

        Raises:
            PromptError: the cache has another number of rows than the call, or an earlier call has used it.
        """
        if layer_idx == 0:
            first: Any = self.layers[0]
            held = first.keys
            rows, given = (0 if held is None else len(held)), len(key_states)
            if rows != given:
                raise PromptError(
                    f"the cache has {rows} rows and the call runs {given}: make one for it, prompt.past_key_values("
                    f"model, batch, copies={max(given // self.texts, 1)}), with num_beams or num_return_sequences as "
                    "copies"
                )
            if key_states.shape[2] > 1 and self.get_seq_length() > self.length and not self.is_cropped:
                raise PromptError(
                    "an earlier call has used this cache up, as it has appended its own keys: make new arguments for "
                    "every call, hf_model.generate(**prompt.past_key_values(model, batch))"
                )
        return super().update(key_states, value_states, layer_idx, *args, **options)


def _checked(model: HookedModel, ids: Any, mask: Any, k: int) -> tuple[Tensor, Tensor]:
    ids, mask = model.rules.check_inputs(ids, mask)
    model.rules.check_context(ids.shape[1], k)
    return ids, mask.long()


def _right(x: Int[Tensor, "B n"], mask: Int[Tensor, "B n"]) -> Int[Tensor, "B n"]:
    return x.gather(1, to_right_padding(mask))


def _positions(mask: Int[Tensor, "B t"]) -> Int[Tensor, "B t"]:
    return (mask.cumsum(dim=1) - 1).clamp_min(0)


def _ids_and_mask(batch: Any) -> tuple[Any, Any]:
    """Return ids and mask of a tokenizer's output, a `Batch`, or ids alone."""
    if isinstance(batch, Tensor):
        return batch, None
    if isinstance(batch, Mapping) or hasattr(batch, "keys"):
        if "input_ids" in batch:
            return batch["input_ids"], batch.get("attention_mask")
    elif hasattr(batch, "input_ids"):
        return batch.input_ids, getattr(batch, "attention_mask", None)
    raise PromptError(
        "batch must be what a tokenizer returns (input_ids and attention_mask), or input_ids alone, got a "
        f"{type(batch).__name__}: use tokenizer(texts, return_tensors='pt', padding=True)"
    )
