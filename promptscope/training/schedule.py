"""The learning rate as a function of the step."""

import math
from typing import Literal


def learning_rate_factor(
    step: int, total: int, warmup: int = 0, schedule: Literal["constant", "linear", "cosine"] = "constant"
) -> float:
    """Return the factor in (0, 1] of the learning rate at *step* (counted from 0) of *total* steps.

    During the warm-up it is `(step + 1) / warmup`. Afterwards, with x in [0, 1) the share of the remaining steps that
    are done, it is 1 (constant), `1 - x` (linear) or `(1 + cos(pi x)) / 2` (cosine). The `get_*_schedule_with_warmup`
    of transformers use `step / warmup`, so that their first step has the learning rate 0; after the warm-up they agree.

    >>> [learning_rate_factor(s, 4, schedule="linear") for s in range(4)]
    [1.0, 0.75, 0.5, 0.25]
    """
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(total - warmup, 1)
    if schedule == "linear":
        return 1.0 - done
    if schedule == "cosine":
        return (1.0 + math.cos(math.pi * done)) / 2.0
    return 1.0
