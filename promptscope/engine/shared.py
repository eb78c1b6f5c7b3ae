"""What comes before every text: computed once for the whole batch, or read from a placement."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from promptscope.models import HookedModel, Placement, Prefix
from promptscope.models.placement_prefix import visible, written


@dataclass(frozen=True)
class Shared:
    """What the texts of each of G prompts have in common: first *prefix*, then *rows*.

    `prefix`: keys and values that are known, p of them. `rows`: s vectors that still have to run through the model, in
    the same pass as the texts, at the positions `at`; None: one after the other, after those of the prefix. `gaps`:
    positions among them that are taken, and that nothing attends to. `n_template`: how many leading tokens of every
    text they hold.

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
        """How many keys and values are known."""
        return self.prefix.n_keys if self.prefix is not None else 0

    @property
    def s(self) -> int:
        """How many rows still have to be computed."""
        return self.rows.shape[1] if self.rows is not None else 0

    @property
    def taken(self) -> int:
        """How many positions are taken: texts begin at this one."""
        return self._after_prefix + self.s + self.gaps

    @property
    def _after_prefix(self) -> int:
        return self.prefix.length if self.prefix is not None else 0

    def positions(self, device: torch.device) -> Int[Tensor, "G s"]:
        """Return the positions of the rows."""
        if self.at is not None:
            return self.at
        return (self._after_prefix + torch.arange(self.s, device=device)).expand(self.n_prompts, -1)

    @classmethod
    def of(
        cls, model: HookedModel, placements: Sequence[Placement], template: Sequence[Sequence[int]] = ()
    ) -> "Shared":
        """Put *placements*, all of one kind and length, and after each its *template* tokens, first.

        Templates, one for each prompt (one for no prompt), must be of one length.
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
        """Return what comes before the texts of some of the prompts."""
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
    """Stack the vectors of *placements* that are not hidden, and their positions.

    None for placements without vectors; no positions where nothing is hidden: they are 0..k-1.
    """
    vectors = [placement.vectors.to(model.dtype) for placement in placements if placement.vectors is not None]
    if not vectors:
        return None, None
    if not any(placement.hidden for placement in placements):
        return torch.stack(vectors), None
    at = visible(placements, model.device)
    return torch.stack([one[kept] for one, kept in zip(vectors, at, strict=True)]), at
