"""The records of each batch, as a function of seed and batch number only, so that a run can continue anywhere."""

import torch


def batch_indices(n: int, batch_size: int, seed: int, number: int) -> list[int]:
    """Return the indices of the records in batch *number*, counted from 0 over the whole run.

    Each epoch is another random permutation of all n records; its last batch may be smaller.

    >>> sorted(batch_indices(5, 3, seed=0, number=0) + batch_indices(5, 3, seed=0, number=1))
    [0, 1, 2, 3, 4]
    """
    epoch, position = divmod(number, batches_per_epoch(n, batch_size))
    # Torch seeds are 64 bit: epochs of one seed never meet those of a neighbouring seed.
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(n, generator=generator)
    return order[position * batch_size : (position + 1) * batch_size].tolist()


def batches_per_epoch(n: int, batch_size: int) -> int:
    """Return the number of batches in an epoch of *n* records."""
    return -(-n // batch_size)
