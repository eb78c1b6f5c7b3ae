"""The residual stream at one chosen position of each input."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.store import Capture, View


@dataclass(frozen=True)
class ResidualAt(Capture):
    """The residual stream after each layer at one position of each input: (B, d_model).

    *at*: `"answer"`, the position that predicts the label; `"last"`, the last real token; or a text position, counted
    from 0 (negative: from the end). Inputs that are too short give zeros.

    >>> ResidualAt(at=4).reach, ResidualAt(at="answer").reach
    (5, None)
    """

    site: str = "hook_resid_post"
    at: int | str = "answer"

    @property
    def reach(self) -> int | None:
        """With a position counted from the start, later tokens need not be run."""
        return self.at + 1 if isinstance(self.at, int) and self.at >= 0 else None

    def reduce(self, x: Float[Tensor, "B T d_model"], layer: int, view: View) -> Float[Tensor, "B d_model"]:
        """Select the position."""
        if self.at == "answer":
            return view.at(x, view.answer)
        position = -1 if self.at == "last" else int(self.at)
        positions = position + view.lengths if position < 0 else torch.full_like(view.lengths, position)
        there = (positions >= 0) & (positions < view.lengths)
        return view.at(x, positions.where(there, 0)) * there[:, None]
