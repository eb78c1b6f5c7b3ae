"""Which share of an effect something carries: ratios of means with intervals, undefined where the effect is small."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from promptscope.checks import checked
from promptscope.errors import ArgumentError
from promptscope.statistics.bootstrap import bootstrap_interval, mean_interval

MIN_EFFECT = 0.05
"""An effect below this many nats is too small to be divided by, even if its interval excludes 0."""


@dataclass(frozen=True)
class Effect:
    """A mean difference over n inputs with its 95 % interval; `is_clear` says whether shares of it are defined.

    >>> Effect(mean=0.8, low=0.5, high=1.1, n=64).is_clear, Effect(mean=0.2, low=-0.1, high=0.5, n=64).is_clear
    (True, False)
    """

    mean: float
    low: float
    high: float
    n: int
    min_effect: float = MIN_EFFECT

    @property
    def is_clear(self) -> bool:
        """True if the interval excludes 0, and the mean is at least `min_effect` away from 0."""
        return bool((self.low > 0 or self.high < 0) and abs(self.mean) >= self.min_effect)


@checked(min_effect=0)
def effect_of(differences: Float[np.ndarray, "X"], min_effect: float = MIN_EFFECT) -> Effect:
    """Return the mean of *differences* (X,) with its bootstrap 95 % interval.

    A single input has no interval, and its effect is never clear. *min_effect*: size below which an effect does not
    count as clear, in the units of the differences.

    >>> effect_of(np.array([1.0, 1.1, 0.9, 1.0])).is_clear, effect_of(np.array([1.0, -1.0, 0.5, -0.5])).is_clear
    (True, False)
    """
    low, high = mean_interval(differences)
    return Effect(float(differences.mean()), float(low), float(high), len(differences), min_effect)


@checked(min_effect=0)
def effect_share(
    moved: Float[np.ndarray, "X *shape"], differences: Float[np.ndarray, "X"], min_effect: float = MIN_EFFECT
) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
    """Return (share, low, high): `mean_x(moved) / mean_x(differences)`, a ratio of means over X inputs.

    *differences* (X,) is the whole effect on each input, *moved* (X, ...) the part of it that an intervention brings
    back. 1 = all of the effect, 0 = none; values below 0 and above 1 are possible. The 95 % interval resamples inputs,
    in numerator and denominator together. NaN where the effect is not clear (`Effect.is_clear`): a ratio with noise in
    the denominator means nothing.

    >>> effect = np.array([1.0, 1.2, 0.8, 1.1])
    >>> effect_share(effect / 2, effect)[0].item()
    0.5
    >>> bool(np.isnan(effect_share(effect, effect - effect.mean())[0]))
    True
    """
    effect = effect_of(differences, min_effect)
    if not effect.is_clear:
        nothing = np.full(moved.shape[1:], np.nan)
        return nothing, nothing.copy(), nothing.copy()

    def ratio(weights: np.ndarray) -> np.ndarray:
        whole = (weights @ differences).reshape(-1, *[1] * (moved.ndim - 1))
        # A resample in which the effect vanishes says nothing of a share.
        whole = np.where(np.abs(whole) < 1e-9, np.nan, whole)
        return np.tensordot(weights, moved.astype(np.float64), axes=1) / whole

    low, high = bootstrap_interval(ratio, len(moved))
    return np.asarray(moved.mean(axis=0, dtype=np.float64) / differences.mean()), low, high


@checked(n=1)
def hypergeometric_overlap(n: int, first: int, second: int, common: int) -> tuple[float, float]:
    """Return (expected overlap, one-sided p-value) of two random sets of *n* items.

    The sets have *first* and *second* items; `expected = first * second / n`, and p is the probability of at least
    *common* items in both (hypergeometric).

    Raises:
        ArgumentError: sizes that are not possible.

    >>> expected, p = hypergeometric_overlap(100, 10, 10, 5)
    >>> expected, p < 0.001
    (1.0, True)
    """
    from scipy.stats import hypergeom

    if not 0 <= max(first, second) <= n or not 0 <= common <= min(first, second):
        raise ArgumentError(
            f"expected 0 <= common <= first, second <= n, got sets of {first} and {second} of {n} "
            f"items with {common} in common"
        )

    return first * second / n, float(hypergeom.sf(common - 1, n, first, second))


@checked()
def smallest_count(shares: Float[np.ndarray, "m"], wanted: float) -> int | None:
    """Return how many items are needed until the share is at least *wanted*; None if it never is.

    `shares[i]` is the share of the first i + 1 items. The first count that reaches *wanted* is returned, even if later
    shares are lower again.

    >>> smallest_count(np.array([0.3, 0.7, 0.85, 0.6]), 0.8)
    3
    """
    reached = np.flatnonzero(shares >= wanted)
    return int(reached[0]) + 1 if reached.size else None
