"""Whether two ways of doing the same work came to the same result: without that, a ratio of times means nothing."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

Outcome = Mapping[str, Tensor]
"""What a run came to, by name: `loss`, `gradient`, `tokens`, ..."""

FP32_LIMITS = {"loss": 1e-5, "gradient": 1e-3}
"""Largest relative L2 difference in float32. PEFT with another order of operations differs from PEFT by 5e-5."""

HALF_LIMITS = {"loss": 1e-2, "gradient": 1e-1}
"""The same in bfloat16, in which PEFT with another attention kernel is as far from PEFT."""


def limits_for(dtype: torch.dtype) -> Mapping[str, float]:
    """Return the limits for weights of one type."""
    return HALF_LIMITS if dtype in (torch.bfloat16, torch.float16) else FP32_LIMITS


def difference(got: Tensor, want: Tensor) -> float:
    """Return `||got - want|| / ||want||`; for whole numbers the share of entries that differ; infinity for NaN.

    >>> import torch
    >>> difference(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0]))
    0.1
    >>> difference(torch.tensor([1, 2, 3, 4]), torch.tensor([1, 2, 3, 9]))
    0.25
    """
    if got.shape != want.shape:
        return math.inf
    if not want.is_floating_point():
        return (got != want).double().mean().item()
    got, want = got.detach().double(), want.detach().double()
    found = ((got - want).norm() / want.norm()).item()
    return math.inf if math.isnan(found) else found


def differences(got: Outcome, want: Outcome) -> dict[str, float]:
    """Compare two outcomes entry by entry; an entry that only one of them has differs by infinity."""
    names = sorted({*got, *want})
    return {name: difference(got[name], want[name]) if name in got and name in want else math.inf for name in names}


def within(found: Mapping[str, float], limits: Mapping[str, float]) -> bool:
    """Return whether every difference was measured and is within its limit."""
    return set(found) == set(limits) and all(found[name] <= limits[name] for name in limits)
