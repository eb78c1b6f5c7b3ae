"""What stands in front of every text: computed once for the whole batch, or read from a prompt's parameters."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.models import HookedModel, Prefix
from promptscope.prompts import Prompt


@dataclass(frozen=True)
class Shared:
    """G prompts, each in front of the texts that use it: first *prefix*, then *rows*.

    `prefix`: keys and values that are known, p positions. `rows`: vectors of s positions that still have to run
    through the model, in the same pass as the texts. `n_template`: how many leading tokens of every text they hold.
    """

    n_prompts: int = 0
    prefix: Prefix | None = None
    rows: Float[Tensor, "G s d_model"] | None = None
    n_template: int = 0

    @property
    def p(self) -> int:
        """Positions that are known as keys and values."""
        return self.prefix.length if self.prefix is not None else 0

    @property
    def s(self) -> int:
        """Positions that still have to be computed."""
        return self.rows.shape[1] if self.rows is not None else 0

    @classmethod
    def of(cls, model: HookedModel, prompts: Sequence[Prompt], template: Sequence[Sequence[int]] = ()) -> "Shared":
        """Put *prompts*, all of one kind and length, and behind each its *template* tokens, in front.

        Templates, one for each prompt (one for no prompt), must be of one length.
        """
        rows, prefix = stack_rows(model, prompts), stack_prefixes(model, prompts, "self")
        n_template = len(template[0]) if template else 0
        if n_template:
            tokens = model.embed(torch.tensor(template))
            rows = tokens if rows is None else torch.cat([rows, tokens], dim=1)
        return cls(len(prompts) or (1 if n_template else 0), prefix, rows, n_template)

    def pick(self, prompts: Sequence[int]) -> "Shared":
        """Return what stands in front of the texts of some of the prompts."""
        if list(prompts) == list(range(self.n_prompts)):
            return self
        which, prefix = list(prompts), self.prefix
        if prefix is not None:
            keys, values = ([x[which] for x in part] for part in (prefix.keys, prefix.values))
            prefix = Prefix(tuple(keys), tuple(values), prefix.layers)
        return Shared(len(which), prefix, None if self.rows is None else self.rows[which], self.n_template)

    def detached(self) -> "Shared":
        """Cut the keys and values from the prompts' graph and make them leaves that collect a gradient."""
        assert self.prefix is not None and self.rows is None
        leaves = [x.detach().requires_grad_() for x in (*self.prefix.keys, *self.prefix.values)]
        n = len(self.prefix.keys)
        prefix = Prefix(tuple(leaves[:n]), tuple(leaves[n:]), self.prefix.layers)
        return Shared(self.n_prompts, prefix, None, self.n_template)


def sees_everywhere(model: HookedModel, prompts: Sequence[Prompt]) -> bool:
    """Say whether every layer sees the prompts: tokens behind them then have keys and values of one length."""
    prefixes = [prompt.prefixes(model).get("self") for prompt in prompts]
    return all(prefix is None or len(prefix.layers) == model.shape.n_layers for prefix in prefixes)


def stack_rows(model: HookedModel, prompts: Sequence[Prompt]) -> Float[Tensor, "G k d_model"] | None:
    """Stack the embeddings of input-level prompts; None for deep ones, and for no prompt."""
    every = [prompt.bind(model).rows(model) for prompt in prompts]
    rows = [row.to(model.dtype) for row in every if row is not None]
    return torch.stack(rows) if rows else None


def stack_prefixes(model: HookedModel, prompts: Sequence[Prompt], part: str) -> Prefix | None:
    """Stack the keys and values that deep prompts write to one attention; None where they write none."""
    every = [prompt.bind(model).prefixes(model).get(part) for prompt in prompts]
    found = [prefix for prefix in every if prefix is not None]
    if not found:
        return None
    layers = range(len(found[0].keys))
    return Prefix(
        tuple(torch.cat([prefix.keys[i] for prefix in found]) for i in layers),
        tuple(torch.cat([prefix.values[i] for prefix in found]) for i in layers),
        found[0].layers,
    )
