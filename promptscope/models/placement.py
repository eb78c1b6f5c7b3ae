"""A prompt as data: the vectors or keys and values at its positions, by layer, and which positions are hidden."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from promptscope.errors import PromptError
from promptscope.models.frozen import FrozenModel


@dataclass(frozen=True)
class KeysValues:
    """Keys and values at k positions before the text, in some `layers` of one attention.

    `keys` and `values` have the shape `(layer, kv_head, k, d_head)`. In other layers, no query attends to the
    positions. With `after_rotary`, keys are as a cache stores them, with the rotary embedding of positions 0..k-1
    applied.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> part = ps.DeepPrompt(length=4).place(model).parts["self"]
    >>> part.layers, tuple(part.keys.shape)  # (layer, kv_head, k, d_head)
    ((0, 1, 2, 3, 4, 5), (6, 5, 4, 32))
    """

    keys: Float[Tensor, "L kv_head k d_head"]
    values: Float[Tensor, "L kv_head k d_head"]
    layers: tuple[int, ...]
    after_rotary: bool = False


@dataclass(frozen=True)
class Placement:
    """The k positions that a prompt puts before a text on one model: embeddings, or keys and values.

    - `length`: k; the text starts at position k;
    - `vectors (k, d_embed)`: embeddings at positions 0..k-1, which run through the model, or None;
    - `parts`: keys and values by attention (the names of `DeepPrompt(parts=...)`);
    - `hidden`: positions to which no query attends; they still count, so that the text does not move.

    Every way of running a prompt uses its placement: as hooks (`hooks_of`, which define what a prompt does), as a
    prefix cache (`prefix_of`), or packed (`promptscope.engine`). A placement can be passed wherever a prompt can.

    Raises:
        PromptError: the number of vectors, keys or values is not `length`.

    >>> import torch, promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> placement = ps.SoftPrompt(4).place(model)
    >>> placement.length, placement.vectors.shape == (4, model.shape.d_model)
    (4, True)
    >>> placement.cut([0]).visible  # no query attends to position 0; the others do not move
    [1, 2, 3]
    """

    length: int
    vectors: Float[Tensor, "k d_model"] | None = None
    parts: Mapping[str, KeysValues] = field(default_factory=dict)
    hidden: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, numbers in self.tensors().items():
            if numbers.shape[-2] != self.length:
                raise PromptError(
                    f"a prompt of length {self.length} has {name} for {numbers.shape[-2]} positions: both must be "
                    "equal. Make a new prompt of the other length, such as ps.SoftPrompt(length); in a prompt class "
                    "of your own, let place(model) return Placement(length, ...) with the number of its vectors as "
                    "length"
                )

    def place(self, model: FrozenModel) -> Placement:
        """Return the placement itself, so that a placement can be passed as a prompt."""
        return self

    @property
    def visible(self) -> list[int]:
        """The positions that are not hidden, in ascending order."""
        return [position for position in range(self.length) if position not in self.hidden]

    def slots(self, model: FrozenModel) -> dict[str, int]:
        """Return the number of prompt positions before each stream (`encoder`, `decoder`) of *model*."""
        streams = {model.family.attentions[part].keys for part in self.parts}
        if self.vectors is not None:
            streams.add("encoder")
        return {stream: self.length for stream in sorted(streams)}

    def sees_everywhere(self, model: FrozenModel) -> bool:
        """Return whether queries of every layer of *model* can attend to the positions."""
        depths = {name: model.layers[model.family.attentions[name].stack] for name in self.parts}
        return all(len(part.layers) == depths[name] for name, part in self.parts.items())

    def cut(self, positions: Sequence[int]) -> Placement:
        """Return a placement in which no query attends to *positions* either; positions of the rest do not change."""
        return replace(self, hidden=tuple(sorted({*self.hidden, *positions})))

    def map(self, change: Callable[[Float[Tensor, "*layers k d"]], Tensor]) -> Placement:
        """Return a placement with *change* applied to its vectors, keys and values, each `(..., k, d)`.

        *change* may return another number of positions k, the same for all of them."""
        parts = {
            name: replace(part, keys=change(part.keys), values=change(part.values)) for name, part in self.parts.items()
        }
        vectors = None if self.vectors is None else change(self.vectors)
        length = next(x.shape[-2] for x in (vectors, *(part.keys for part in parts.values())) if x is not None)
        return replace(self, length=length, vectors=vectors, parts=parts)

    def tensors(self) -> dict[str, Tensor]:
        """Return the vectors, keys and values as tensors, by name."""
        found: dict[str, Any] = {} if self.vectors is None else {"vectors": self.vectors}
        for name, part in self.parts.items():
            found |= {f"{name}_keys": part.keys, f"{name}_values": part.values}
        return found
