"""Right padding, the layout in which every model runs, and conversion to and from it."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def to_right_padding(mask: Int[Tensor, "B n"]) -> Int[Tensor, "B n"]:
    """Return, for each row, the order of columns in which tokens come first, in sequence, and padding last.

    `ids.gather(1, order)` is right padded, on whichever side the padding was. Positions then count tokens only, and
    relative position biases see no gap.

    >>> to_right_padding(torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])).tolist()
    [[2, 3, 0, 1], [0, 1, 2, 3]]
    """
    return torch.argsort((mask == 0).int(), dim=1, stable=True)


def row_ends(mask: Int[Tensor, "B n"] | Bool[Tensor, "B n"]) -> Int[Tensor, "B"]:
    """Return the column after each row's last token; for right padding, this is the number of tokens.

    >>> row_ends(torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])).tolist()
    [4, 3]
    """
    if not mask.shape[1]:
        return mask.sum(dim=1)
    return (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).amax(dim=1)


def restore_order(values: Float[Tensor, "B n V"], order: Int[Tensor, "B n"]) -> Float[Tensor, "B n V"]:
    """Undo `to_right_padding` on outputs: `result[b, order[b, t]] = values[b, t]`."""
    back = torch.argsort(order, dim=1)
    return values.gather(1, back[:, :, None].expand_as(values))


def prepend_slots(ids: Int[Tensor, "B n"], k: int, fill: int) -> Int[Tensor, "B kn"]:
    """Return *ids* with *k* columns of the value *fill* before them: placeholder ids, or ones before a mask."""
    return torch.cat([ids.new_full((ids.shape[0], k), fill), ids], dim=1)
