"""Leading tokens that all texts of a batch have in common, such as an instruction or few-shot examples."""

from collections.abc import Sequence

from jaxtyping import Bool, Int
from torch import Tensor


def common_template(
    ids: Int[Tensor, "R n"],
    mask: Bool[Tensor, "R n"],
    where: Bool[Tensor, "R n"],
    which: Int[Tensor, "R"] | None = None,
    n_prompts: int = 1,
) -> list[list[int]]:
    """Return, for each prompt, the leading tokens that all its texts share, cut to the same length for all prompts.

    On a causal model, their keys and values after a prompt are the same for every text, so that they need to be
    computed once. Positions whose logits are wanted (*where*) are not included. If there are none, the lists are empty
    or there is no list.

    >>> import torch
    >>> ids = torch.tensor([[5, 6, 7, 8], [5, 6, 9, 8]])
    >>> common_template(ids, ids > 0, torch.tensor([[False, False, False, True]] * 2))
    [[5, 6]]
    """
    groups = [which == g for g in range(n_prompts)] if which is not None and n_prompts > 1 else [None]
    rows = [ids if group is None else ids[group] for group in groups]
    if any(len(mine) < 2 for mine in rows):  # nothing to share
        return []
    free = (mask & ~where).all(dim=0).int().cumprod(0).sum()  # columns before every padding and wanted position
    length = min(int(free), *(_same(mine) for mine in rows))
    return [mine[0, :length].tolist() for mine in rows] if length else []


def _same(ids: Int[Tensor, "R n"]) -> int:
    """Return the number of leading columns that are equal in all rows."""
    return int((ids == ids[:1]).all(dim=0).int().cumprod(0).sum())


def common_prefix(texts: Sequence[Sequence[int]]) -> list[int]:
    """Return the leading tokens that all *texts* share.

    >>> common_prefix([[1, 2, 3], [1, 2, 4]])
    [1, 2]
    """
    first, last = min(map(list, texts)), max(map(list, texts))  # in the order of a dictionary
    same = next((i for i, token in enumerate(first) if token != last[i]), len(first))
    return first[:same]
