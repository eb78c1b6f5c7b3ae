"""The definition of what a prompt does: its placement as hooks at the positions `[k prompt positions | text]`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.models.attached import Hook
from promptscope.models.frozen import FrozenModel
from promptscope.models.keys import is_reversible, turned_back
from promptscope.models.placement import KeysValues, Placement


def hooks_of(placement: Placement, model: FrozenModel) -> list[Hook]:
    """Return *placement* as a list of `(hook point, function)` pairs.

    The model runs on k placeholder tokens before the text. Vectors replace their embeddings (at `family.embedding`);
    keys and values replace theirs at `hook_k` and `hook_v` of the placement's layers. In other layers, and at hidden
    positions, the attention scores of the placeholders are set to the lowest number, so that no query attends to them.
    Keys with `after_rotary` are converted back to `hook_k`, or, where that is impossible, written at `hook_rot_k`.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> (point, write), *hide = hooks_of(ps.SoftPrompt(length=4).place(model), model)
    >>> point, hide
    ('embed.hook_out', [])
    """
    at = {name: _where_keys_go(part, model, name) for name, part in placement.parts.items()}
    if "hook_rot_k" not in at.values():
        placement = turned_back(placement, model)
    hooks: list[Hook] = []
    if placement.vectors is not None:
        hooks.append((model.family.embedding, Overwrite(placement.vectors * model.facts.hook_scale)))
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
                for point, numbers in ((at[name], part.keys), ("hook_v", part.values)):
                    hooks.append((f"{where}.{point}", Overwrite(numbers[row].transpose(0, 1))))
            elif placement.vectors is None or attention.keys != "encoder":
                hidden = range(placement.length)
            if hidden:
                hooks.append((f"{where}.hook_attn_scores", Hide(list(hidden))))
    return hooks


def _where_keys_go(part: KeysValues, model: FrozenModel, name: str) -> str:
    attention = model.family.attentions[name]
    turned = f"{attention.stack}.{{i}}.{attention.module}.hook_rot_k"
    final = part.after_rotary and not is_reversible(part.layers, model, name)
    return "hook_rot_k" if final and model.family.has(turned) else "hook_k"


@dataclass(frozen=True, eq=False)
class Overwrite:
    """A hook that replaces the first k positions by *rows* `(k, ...)`; a remote server receives the rows as data."""

    rows: Float[Tensor, k * shape] = field(repr=False)
    is_checked: ClassVar[bool] = True

    def __call__(self, x: Float[Tensor, "B T *shape"], hook: object) -> Tensor | None:
        """Return the activation with its first k positions replaced."""
        rows = self.rows
        if x.shape[1] <= len(rows):  # a decoding step after a cache: the prompt is in the cache
            return None
        return torch.cat([rows.to(x).expand(len(x), *rows.shape), x[:, len(rows) :]], dim=1)


@dataclass(frozen=True, eq=False)
class Hide:
    """A hook that hides key positions: it sets their attention scores to the lowest finite number."""

    columns: list[int]
    is_checked: ClassVar[bool] = True

    def __call__(self, scores: Float[Tensor, "B head T S"], hook: object) -> Tensor:
        """Return the scores with the hidden columns set to the lowest finite number."""
        # A finite number, not -inf: a placeholder's own row may have no other key, and must not be NaN. Finite in
        # float32 too, in which Llama takes its softmax whatever the dtype.
        lowest = max(torch.finfo(scores.dtype).min, torch.finfo(torch.float32).min)
        hidden = scores.clone()
        hidden[..., self.columns] = lowest
        return hidden
