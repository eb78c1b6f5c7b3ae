"""Flat rows without padding: the sequence of each row, and conversion to padded rectangles and back."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from promptscope.models.layout import row_ends


@dataclass(frozen=True)
class Rows:
    """R sequences of different lengths, one after the other in a flat list of T rows.

    - `where (T,)`: `where[i] = r * width + t` is the index of flat row i (column t of sequence r) in the padded
      rectangle `(R, width)`; None if all sequences have equal lengths, so that the list is the rectangle.
    - `lengths (R,)`: the number of columns up to the end of each sequence.
    - `real (R, width)`: True on tokens, if some sequence has padding before it (tokens then keep the positions of their
      columns); None otherwise.
    """

    lengths: Int[Tensor, "R"]
    width: int
    where: Int[Tensor, "T"] | None
    real: Bool[Tensor, "R width"] | None = None

    @classmethod
    def of(cls, mask: Bool[Tensor, "R n"]) -> "Rows":
        """Return the rows of a padded rectangle, given its mask."""
        lengths = row_ends(mask)
        width = int(lengths.max()) if len(lengths) else 0
        mask = mask[:, :width]
        where = None if bool(mask.all()) else mask.flatten().nonzero()[:, 0]
        return cls(lengths, width, where, None if bool(mask[:, :1].all()) else mask)

    @classmethod
    def even(cls, n: int, width: int, device: torch.device) -> "Rows":
        """Return the rows of *n* sequences of *width* rows each."""
        return cls(torch.full((n,), width, device=device), width, None)

    @property
    def n(self) -> int:
        """The number of sequences R."""
        return len(self.lengths)

    @property
    def positions(self) -> Int[Tensor, "T"]:
        """The position of each flat row in its sequence."""
        every = torch.arange(self.n * self.width, device=self.lengths.device)
        return (every if self.where is None else self.where) % max(self.width, 1)

    @property
    def sequences(self) -> Int[Tensor, "T"]:
        """The number of the sequence of each flat row."""
        every = torch.arange(self.n * self.width, device=self.lengths.device)
        return (every if self.where is None else self.where) // max(self.width, 1)

    @property
    def mask(self) -> Bool[Tensor, "R width"]:
        """True on tokens of the rectangle, False on padding."""
        if self.real is not None:
            return self.real
        return torch.arange(self.width, device=self.lengths.device) < self.lengths[:, None]

    def flatten(self, x: Tensor) -> Tensor:
        """Return the flat rows `(T, ...)` of a rectangle `(R, n, ...)`, n >= width."""
        flat = x[:, : self.width].flatten(0, 1)
        return flat if self.where is None else flat[self.where]

    def pad(self, x: Float[Tensor, "T head d"]) -> Float[Tensor, "R width head d"]:
        """Return the rectangle of flat rows, with zeros at the padding."""
        if self.where is not None:
            x = _Spread.apply(x, self.where, self.n * self.width)
        return x.unflatten(0, (self.n, self.width))

    def unpad(self, x: Float[Tensor, "R width head d"]) -> Float[Tensor, "T head d"]:
        """Return the flat rows of a rectangle; the inverse of `pad`."""
        x = x.flatten(0, 1)
        return x if self.where is None else _Pick.apply(x, self.where)


# Each is the other's gradient. Autograd's own of an index_select is an index_add, which is slow: it cannot know that
# no row is picked twice.
class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, where: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(where)
        return x.new_zeros(size, *x.shape[1:]).index_copy_(0, where, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (where,) = ctx.saved_tensors
        return grads[0].index_select(0, where), None, None


class _Pick(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, where: Tensor) -> Tensor:
        ctx.save_for_backward(where)
        ctx.size = len(x)
        return x.index_select(0, where)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (where,) = ctx.saved_tensors
        return grads[0].new_zeros(ctx.size, *grads[0].shape[1:]).index_copy_(0, where, grads[0]), None
