"""Where prompt, text and padding are in a batch, for code that reduces its activations."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class View:
    """Which positions of a batch are prompt, text and padding; the layout is `[k prompt positions | n text positions]`.

    Texts are right-padded to n. B inputs.

    - `k`: number of prompt positions; 0 in a pass without a prompt;
    - `tokens` (B, n): True on real tokens;
    - `special` (B, n): True on special tokens and on padding;
    - `answer` (B,): the text position that predicts the label: the last source token of a causal model, the mask of a
      masked one, the first position of a decoder;
    - `targets` (B, m): the token to predict at each position of the logits, -100 where there is none (everywhere,
      unless the probe is `labelled`).

    >>> view = View(k=2, tokens=torch.tensor([[True, True, False]]), special=torch.tensor([[True, False, True]]),
    ...             answer=torch.tensor([1]))
    >>> view.lengths.tolist(), view.text.tolist()
    ([2], [[False, True, False]])
    >>> view.without_prompt(torch.arange(5)[None]).tolist()
    [[2, 3, 4]]
    """

    k: int
    tokens: Bool[Tensor, "B n"]
    special: Bool[Tensor, "B n"]
    answer: Int[Tensor, "B"]
    targets: Int[Tensor, "B m"] | None = None

    @property
    def n(self) -> int:
        """Number of text positions, padding included."""
        return self.tokens.shape[1]

    @property
    def lengths(self) -> Int[Tensor, "B"]:
        """Number of real tokens of each input: (B,)."""
        return self.tokens.sum(dim=1)

    @property
    def text(self) -> Bool[Tensor, "B n"]:
        """True on real tokens that are not special: (B, n)."""
        return self.tokens & ~self.special

    def without_prompt(self, x: Tensor, *dims: int) -> Tensor:
        """Return *x* without the prompt positions in the given dimensions (by default dimension 1); no copy."""
        for dim in dims or (1,):
            x = x.narrow(dim, self.k, self.n)
        return x

    def at(self, x: Tensor, positions: Int[Tensor, "B"]) -> Tensor:
        """Select one text position of each input: from (B, k + n, ...) to (B, ...).

        `view.at(x, view.lengths - 1)` is the last real token, `view.at(x, view.answer)` the position that predicts the
        label.
        """
        return x[torch.arange(len(x), device=x.device), self.k + positions]
