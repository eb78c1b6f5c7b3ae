"""Where things are in a batch, for whoever reduces its activations."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class View:
    """Where prompt, text and padding are in the layout `[k prompt slots | n text tokens, right padded]`.

    `k` is 0 in a pass without a prompt; `tokens` is True on real tokens; `special` on special tokens and on
    padding; `answer` is the text position at which the label is predicted (the last source token of a causal
    model, the mask of a masked one; of an encoder-decoder, the decoder's first). `targets` holds the token that must be
    predicted at each position of the logits, -100 where none; all -100 unless the probe is `labelled`.

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
        """Width of the text part, padding included."""
        return self.tokens.shape[1]

    @property
    def lengths(self) -> Int[Tensor, "B"]:
        """Number of real tokens of each input."""
        return self.tokens.sum(dim=1)

    @property
    def text(self) -> Bool[Tensor, "B n"]:
        """True on real tokens that are not special."""
        return self.tokens & ~self.special

    def without_prompt(self, x: Tensor, *dims: int) -> Tensor:
        """Cut the prompt slots off the given dimensions of *x* (dimension 1 if none is given); no copy."""
        for dim in dims or (1,):
            x = x.narrow(dim, self.k, self.n)
        return x

    def at(self, x: Tensor, positions: Int[Tensor, "B"]) -> Tensor:
        """Pick one text position of each input: `(B, k+n, ...)` to `(B, ...)`.

        `view.at(x, view.lengths - 1)` is the last real token, `view.at(x, view.answer)` where the label is predicted.
        """
        return x[torch.arange(len(x), device=x.device), self.k + positions]
