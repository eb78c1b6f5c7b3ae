"""The learning rate as a function of the step."""

import math
from typing import Literal


def learning_rate_factor(
    step: int, total: int, warmup: int = 0, schedule: Literal["constant", "linear", "cosine"] = "constant"
) -> float:
    """Return what the learning rate is multiplied by at *step* (counted from 0) of *total*; in (0, 1].

    Warm-up: (step + 1) / warmup. After it, with x in [0, 1) the share of the remaining steps that are done:
    constant 1, linear 1 - x, cosine (1 + cos(pi x)) / 2. The first step always learns; transformers'
    `get_*_schedule_with_warmup` use step / warmup, which wastes it, and agree after the warm-up.

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
