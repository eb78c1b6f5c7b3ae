"""A prompt as data: what is at its positions, in which layers, and which of the positions are hidden."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from promptscope.errors import PromptError

if TYPE_CHECKING:
    from promptscope.models.hooked import HookedModel


@dataclass(frozen=True)
class KeysValues:
    """Keys and values at k positions before the text, in some *layers* of one attention.

    Layers that are not among them do not see the positions. `after_rotary`: keys as a cache holds them, turned to
    positions 0..k-1 already.

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
    """What a prompt puts before a text on one model: k positions, made of vectors or of keys and values.

    `vectors`: embeddings at positions 0..k-1, which run through the model. `parts`: keys and values, by attention (the
    names of `DeepPrompt(parts=...)`). `hidden`: positions that are taken and that nothing attends to.

    Everything that runs a prompt reads its placement: hooks (`hooks_of`, the definition), a prefix cache (`prefix_of`),
    the packed pass (`promptscope.engine`). A placement may be given wherever a prompt may.

    >>> import torch, promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> placement = ps.SoftPrompt(4).place(model)
    >>> placement.length, placement.vectors.shape == (4, model.shape.d_model)
    (4, True)
    >>> placement.cut([0]).visible  # position 0 keeps its place and is attended to no more
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
                    f"a prompt of {self.length} positions holds {name} for {numbers.shape[-2]}: its length is part of "
                    "what its numbers were made for. Make another prompt, such as ps.SoftPrompt(length); of a kind of "
                    "your own, let place(model) return Placement(length, ...) of as many vectors"
                )

    def place(self, model: HookedModel) -> Placement:
        """Return the placement itself."""
        return self

    @property
    def visible(self) -> list[int]:
        """The positions that are not hidden."""
        return [position for position in range(self.length) if position not in self.hidden]

    def slots(self, model: HookedModel) -> dict[str, int]:
        """Return how many positions are taken before each stream (`encoder`, `decoder`) of *model*."""
        streams = {model.family.attentions[part].keys for part in self.parts}
        if self.vectors is not None:
            streams.add("encoder")
        return {stream: self.length for stream in sorted(streams)}

    def sees_everywhere(self, model: HookedModel) -> bool:
        """Say whether every layer of *model* sees the positions."""
        depths = {name: model.layers[model.family.attentions[name].stack] for name in self.parts}
        return all(len(part.layers) == depths[name] for name, part in self.parts.items())

    def cut(self, positions: Sequence[int]) -> Placement:
        """Hide more positions from attention; nothing moves."""
        return replace(self, hidden=tuple(sorted({*self.hidden, *positions})))

    def map(self, change: Callable[[Float[Tensor, "*layers k d"]], Tensor]) -> Placement:
        """Apply *change* to the vectors, keys and values, each `[..., k, d]`; it may change k, the same everywhere."""
        parts = {
            name: replace(part, keys=change(part.keys), values=change(part.values)) for name, part in self.parts.items()
        }
        vectors = None if self.vectors is None else change(self.vectors)
        length = next(x.shape[-2] for x in (vectors, *(part.keys for part in parts.values())) if x is not None)
        return replace(self, length=length, vectors=vectors, parts=parts)

    def tensors(self) -> dict[str, Tensor]:
        """Return all numbers, by name."""
        found: dict[str, Any] = {} if self.vectors is None else {"vectors": self.vectors}
        for name, part in self.parts.items():
            found |= {f"{name}_keys": part.keys, f"{name}_values": part.values}
        return found
