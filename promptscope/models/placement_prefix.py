"""A placement as a prefix cache: keys and values of the prompt positions in every layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import DynamicCache

from promptscope.errors import PromptError
from promptscope.models.hookable import HookableModel
from promptscope.models.keys import cached
from promptscope.models.placement import KeysValues, Placement
from promptscope.models.prefix import Prefix


def prefix_of(placement: Placement, model: HookableModel) -> Prefix:
    """Return the keys and values of *placement* in every layer of a causal model.

    Vectors run through the model once, without a text: in a causal model, prompt positions do not attend to the text.

    Raises:
        PromptError: *model* is not causal.
        ModelError: hooks are attached, which this pass of the plain model would ignore.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> prefix_of(ps.DeepPrompt(length=4).place(model), model).n_keys
    4
    """
    if model.family.kind != "causal":
        raise PromptError(
            f"a prefix cache exists for causal models only, and {model.name!r} is a {model.family.kind} model, where a "
            "prompt's keys depend on the text: use prompt.hooks(model)"
        )
    model.need_no_hooks("prompt.prefix")
    model.rules.check_context(1, placement.length)
    if placement.vectors is None:
        prefix = written(model, [placement], "self")
        assert prefix is not None
        return prefix
    kept = placement.visible
    if not kept:
        return nothing_seen(model, 1, placement.length)
    cache = DynamicCache()
    # A cache without the model's config: one with it would keep of a layer with a window no more than that.
    model.twin.base_model(
        inputs_embeds=model.inputs(placement.vectors[kept].to(model.dtype)[None]),
        past_key_values=cache,
        use_cache=True,
        **model.told_positions(torch.tensor([kept], device=model.device)),
    )
    layers = range(model.shape.n_layers)
    keys, values = (tuple(getattr(cache.layers[i], name) for i in layers) for name in ("keys", "values"))
    return Prefix(keys, values, frozenset(layers), placement.length - len(kept))


def written(model: HookableModel, placements: Sequence[Placement], part: str) -> Prefix | None:
    """Stack the keys and values of *placements* for one attention; return None if they have none there.

    In layers that are not chosen they are zeros, to which no query attends.
    """
    found = [placement.parts[part] for placement in placements if part in placement.parts]
    if not found:
        return None
    keys, values = (list(numbers) for numbers in zip(*(_in_cache(one, model, part) for one in found), strict=True))
    if any(placement.hidden for placement in placements):
        kept = visible(placements, model.device)
        keys, values = ([x[:, :, at] for x, at in zip(xs, kept, strict=True)] for xs in (keys, values))
    rows = {layer: row for row, layer in enumerate(found[0].layers)}
    unseen = torch.zeros_like(torch.stack([x[0] for x in keys]))
    every = range(model.layers[model.family.attentions[part].stack])
    stacked = [
        tuple(torch.stack([x[rows[i]] for x in xs]) if i in rows else unseen for i in every) for xs in (keys, values)
    ]
    gaps = placements[0].length - keys[0].shape[2]
    return Prefix(stacked[0], stacked[1], frozenset(rows), gaps)


def nothing_seen(model: HookableModel, n: int, taken: int) -> Prefix:
    """Return the prefix of *n* prompts of *taken* positions, all of them hidden."""
    layers = range(model.shape.n_layers)
    none = torch.zeros(n, model.shape.n_kv_heads, 0, model.shape.d_head, dtype=model.dtype, device=model.device)
    return Prefix((none,) * len(layers), (none,) * len(layers), frozenset(layers), taken)


def visible(placements: Sequence[Placement], device: torch.device) -> Int[Tensor, "G s"]:
    """Return the positions of each placement that are not hidden; all placements have equally many."""
    return torch.tensor([placement.visible for placement in placements], dtype=torch.long, device=device)


def _in_cache(written: KeysValues, model: HookableModel, part: str) -> tuple[Tensor, Tensor]:
    keys, values = written.keys.to(model.dtype), written.values.to(model.dtype)
    return (keys, values) if written.after_rotary else cached(keys, values, written.layers, model, part)
