"""What a number says about a claim: its mean over repetitions, an interval, and a verdict in words."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student

LEVEL = 0.05
SAME, ROUNDING = 1e-9, 1e-12
"""Numbers that differ by a smaller share of their size, or by less than this, are one number."""


def mean_with_interval(numbers: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """Return the mean with its 95 % interval, `mean -+ t se` (Student); NaN are left out, one number has no interval.

    Equal numbers give an interval of zero width: see `without_width`.

    >>> mean, low, high = mean_with_interval([1.0, 2.0, 3.0])
    >>> mean, round(low, 2), round(high, 2)
    (2.0, -0.48, 4.48)
    """
    values = np.asarray(numbers, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return np.nan, np.nan, np.nan
    mean = float(values.mean())
    if len(values) < 2:
        return mean, np.nan, np.nan
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def without_width(low: float, high: float) -> bool:
    """Return whether an interval is a single point, which happens when all repetitions gave the same number.

    Equal numbers say nothing about how far the next repetition would be from them, so this must not be shown as an
    interval: it would look like certainty.

    >>> without_width(0.3 - 0.2, 0.1), without_width(0.1, 0.1001), without_width(float("nan"), float("nan"))
    (True, False, False)
    """
    return bool(abs(high - low) <= max(ROUNDING, SAME * max(abs(low), abs(high))))


def verdict_of(number: float, low: float, high: float) -> str:
    """Return the verdict on the claim that *number* is above zero; *low*, *high*: its interval, or NaN.

    >>> verdict_of(0.4, 0.1, 0.7), verdict_of(0.4, -0.1, 0.9), verdict_of(-0.4, -0.6, 0.2), verdict_of(-0.4, -0.6, -0.2)
    ('holds', 'undecided', 'undecided', 'does not hold')
    """
    if np.isnan(number):
        return "not measured"
    return "holds" if low > 0 else "does not hold" if high < 0 else "undecided"


def verdict_by_test(number: float, p_value: float) -> str:
    """Return the same verdict, decided by a test of `number = 0` at the level .05.

    >>> verdict_by_test(0.4, 0.01), verdict_by_test(0.4, 0.3), verdict_by_test(-0.4, 0.01)
    ('holds', 'undecided', 'does not hold')
    """
    if np.isnan(number):
        return "not measured"
    if not p_value < LEVEL:
        return "undecided"
    return "holds" if number > 0 else "does not hold"
