"""Which records stand in which batch: a pure function of seed and step, so that a run can go on anywhere."""

import torch


def batch_indices(n: int, batch_size: int, seed: int, number: int) -> list[int]:
    """Return the record indices of batch *number* (counted from 0 over the whole run).

    Every epoch is a permutation of its own; its last batch may be smaller.
    """
    per_epoch = -(-n // batch_size)
    epoch, position = divmod(number, per_epoch)
    # Torch seeds are 64 bit: epochs of one seed never meet those of a neighbouring seed.
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(n, generator=generator)
    return order[position * batch_size : (position + 1) * batch_size].tolist()
