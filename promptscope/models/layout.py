"""Where tokens are: right padding as the one layout in which every model runs."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def to_right_padding(mask: Int[Tensor, "B n"]) -> Int[Tensor, "B n"]:
    """Return for each row the order that puts its real tokens first and keeps their sequence.

    `ids.gather(1, order)` is right padded, whatever the side of the padding was; positions then count
    real tokens only, and no relative position bias sees a gap.

    >>> to_right_padding(torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])).tolist()
    [[2, 3, 0, 1], [0, 1, 2, 3]]
    """
    return torch.argsort((mask == 0).int(), dim=1, stable=True)


def row_ends(mask: Int[Tensor, "B n"] | Bool[Tensor, "B n"]) -> Int[Tensor, "B"]:
    """Return the column after each row's last real token: its length, where no padding comes first.

    >>> row_ends(torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])).tolist()
    [4, 3]
    """
    if not mask.shape[1]:
        return mask.sum(dim=1)
    return (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).amax(dim=1)


def restore_order(values: Float[Tensor, "B n V"], order: Int[Tensor, "B n"]) -> Float[Tensor, "B n V"]:
    """Undo `to_right_padding` on the outputs: entry `order[b, t]` gets row t back."""
    back = torch.argsort(order, dim=1)
    return values.gather(1, back[:, :, None].expand_as(values))


def prepend_slots(ids: Int[Tensor, "B n"], k: int, fill: int) -> Int[Tensor, "B kn"]:
    """Put *k* columns of *fill* before *ids*: placeholder tokens, or ones before a mask."""
    return torch.cat([ids.new_full((ids.shape[0], k), fill), ids], dim=1)
