"""A quantity compared with random draws from its null."""

import numpy as np
from jaxtyping import Float

from promptscope.checks import checked


@checked(nan=("observed",))
def p_value_of_draws(observed: float, draws: Float[np.ndarray, "R"], higher_is_more: bool = True) -> float:
    """Return the p-value of a quantity among draws from its null: `(1 + #{draws >= observed}) / (1 + R)`.

    One-sided; with `higher_is_more=False` it counts `draws <= observed`. With R draws it is at least 1/(1 + R). NaN if
    *observed* is NaN.

    Reference: Phipson & Smyth 2010.

    >>> p_value_of_draws(17.5, np.arange(19.0)), p_value_of_draws(0.0, np.arange(19.0), higher_is_more=False)
    (0.1, 0.1)
    """
    if np.isnan(observed) or np.isnan(draws).any():
        return float("nan")
    sign = 1.0 if higher_is_more else -1.0
    return (1 + int(np.sum(sign * draws >= sign * observed - 1e-12))) / (1 + len(draws))
