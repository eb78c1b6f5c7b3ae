"""Edits of a placement: some of its tokens zeroed, averaged, removed, cut from attention, or taken from another."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from promptscope.models import HookedModel, Placement
from promptscope.models.keys import turned_back

Change = Callable[[Float[Tensor, "*layers k d"], Bool[Tensor, "k"]], Tensor]
"""A function of (vectors, which tokens are kept) that returns the edited vectors."""


def _zero(vectors: Tensor, kept: Tensor) -> Tensor:
    return vectors * kept[:, None].to(vectors)


def _mean(vectors: Tensor, kept: Tensor) -> Tensor:
    return torch.where(kept[:, None], vectors, vectors.mean(dim=-2, keepdim=True))


def _remove(vectors: Tensor, kept: Tensor) -> Tensor:
    return vectors[..., kept, :]


_CHANGES: dict[str, Change] = {"zero": _zero, "mean": _mean, "remove": _remove}


def edited(placement: Placement, how: str, kept: Sequence[bool], model: HookedModel) -> Placement:
    """Return *placement* with the edit *how* (zero, mean, remove, cut) applied to the tokens that are not *kept*.

    Keys are edited before the rotary embedding, so that the embedding of their new positions is applied afterwards.
    """
    if how == "cut":
        return placement.cut([position for position, keep in enumerate(kept) if not keep])
    mask = torch.tensor(list(kept), dtype=torch.bool, device=model.device)
    new = turned_back(placement, model).map(lambda vectors: _CHANGES[how](vectors, mask))
    if how != "remove" or not placement.hidden:
        return new
    places = [position for position, keep in enumerate(kept) if keep]
    return replace(new, hidden=tuple(i for i, position in enumerate(places) if position in placement.hidden))


def mixed(placement: Placement, other: Placement, taken: Sequence[bool], model: HookedModel) -> Placement:
    """Return *placement* with the tokens marked in *taken* replaced by those of *other* at the same positions."""
    mask = torch.tensor(list(taken), dtype=torch.bool, device=model.device)[:, None]
    placement, other = turned_back(placement, model), turned_back(other, model)
    theirs = iter(other.tensors().values())  # the order is that of `map`
    return placement.map(lambda vectors: torch.where(mask, next(theirs), vectors))
