"""Keys, values and rows that come before every text of a batch, computed once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from promptscope.models import HookedModel, Placement, Prefix
from promptscope.models.placement_prefix import visible, written


@dataclass(frozen=True)
class Shared:
    """What comes before the texts of each of G prompts: first `prefix`, then `rows`.

    - `prefix`: p keys and values in every layer, computed already;
    - `rows (G, s, d)`: s input vectors that still have to run through the model, in the same pass as the texts;
    - `at (G, s)`: the positions of the rows; None: consecutive, after those of the prefix;
    - `gaps`: the number of hidden positions, which count and to which no query attends;
    - `n_template`: the number of leading tokens of every text that are included.

    >>> import promptscope as ps
    >>> from promptscope.engine import share
    >>> model = ps.load_model("embedded-causal")
    >>> shared = share(model, [ps.SoftPrompt(length=4).bind(model)])
    >>> shared.p, shared.s, shared.taken
    (4, 0, 4)
    """

    n_prompts: int = 0
    prefix: Prefix | None = None
    rows: Float[Tensor, "G s d_model"] | None = None
    n_template: int = 0
    at: Int[Tensor, "G s"] | None = None
    gaps: int = 0

    @property
    def p(self) -> int:
        """The number p of keys and values in the prefix."""
        return self.prefix.n_keys if self.prefix is not None else 0

    @property
    def s(self) -> int:
        """The number s of rows that still have to be computed."""
        return self.rows.shape[1] if self.rows is not None else 0

    @property
    def taken(self) -> int:
        """The number of positions before the texts, hidden ones included; texts start at this position."""
        return self._after_prefix + self.s + self.gaps

    @property
    def _after_prefix(self) -> int:
        return self.prefix.length if self.prefix is not None else 0

    def positions(self, device: torch.device) -> Int[Tensor, "G s"]:
        """Return the positions of the rows, `(G, s)`."""
        if self.at is not None:
            return self.at
        return (self._after_prefix + torch.arange(self.s, device=device)).expand(self.n_prompts, -1)

    @classmethod
    def of(
        cls, model: HookedModel, placements: Sequence[Placement], template: Sequence[Sequence[int]] = ()
    ) -> "Shared":
        """Combine *placements*, all of one kind and length, and the *template* tokens after each of them.

        Templates, one for each prompt (one if there is no prompt), must have equal lengths.
        """
        rows, at = stacked(model, placements)
        shared = cls(len(placements), written(model, placements, "self"), rows, 0, at)
        if rows is not None:
            shared = replace(shared, gaps=placements[0].length - rows.shape[1])
        if not template:
            return shared
        tokens = model.embed(torch.tensor(template))
        if at is not None:
            more = shared.taken + torch.arange(tokens.shape[1], device=model.device)
            at = torch.cat([at, more.expand(len(at), -1)], dim=1)
        rows = tokens if rows is None else torch.cat([rows, tokens], dim=1)
        return replace(shared, n_prompts=len(template), rows=rows, n_template=len(template[0]), at=at)

    def pick(self, prompts: Sequence[int]) -> "Shared":
        """Return the part for some of the prompts, by their numbers."""
        if list(prompts) == list(range(self.n_prompts)):
            return self
        which, prefix = list(prompts), self.prefix
        if prefix is not None:
            keys, values = (tuple(x[which] for x in part) for part in (prefix.keys, prefix.values))
            prefix = replace(prefix, keys=keys, values=values)
        rows, at = (None if x is None else x[which] for x in (self.rows, self.at))
        return replace(self, n_prompts=len(which), prefix=prefix, rows=rows, at=at)


def stacked(
    model: HookedModel, placements: Sequence[Placement]
) -> tuple[Float[Tensor, "G s d_model"] | None, Int[Tensor, "G s"] | None]:
    """Stack the vectors of *placements* at positions that are not hidden, and these positions.

    Both are None for placements without vectors; positions are None if nothing is hidden (they are 0..k-1).
    """
    vectors = [placement.vectors.to(model.dtype) for placement in placements if placement.vectors is not None]
    if not vectors:
        return None, None
    if not any(placement.hidden for placement in placements):
        return torch.stack(vectors), None
    at = visible(placements, model.device)
    return torch.stack([one[kept] for one, kept in zip(vectors, at, strict=True)]), at
