"""How much of an effect something carries: shares of a mean, with intervals; undefined where it is small."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from promptscope.checks import checked
from promptscope.errors import ArgumentError
from promptscope.statistics.bootstrap import bootstrap_interval, mean_interval

MIN_EFFECT = 0.05
"""Nats below which an effect is too small to be divided by, however sure it is."""


@dataclass(frozen=True)
class Effect:
    """A mean difference over X inputs with its 95 % interval; `is_clear` says whether shares of it mean anything.

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
        """Whether the interval leaves zero out and the mean is at least `min_effect` from it."""
        return bool((self.low > 0 or self.high < 0) and abs(self.mean) >= self.min_effect)


@checked(min_effect=0)
def effect_of(differences: Float[np.ndarray, "X"], min_effect: float = MIN_EFFECT) -> Effect:
    """Return the mean of *differences* with its bootstrap interval; one input gives no interval and is never clear.

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

    *differences* is the whole effect on each input and *moved* the part that an intervention brings back. The
    interval resamples inputs, numerator and denominator together. 1 = all of the effect, 0 = nothing; below 0 and
    above 1 happen. NaN where the effect is not clear (`Effect.is_clear`): a ratio to noise says nothing.

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
    """Return (expected overlap, one-sided p-value) of two sets drawn at random from *n* items.

    Expected `first * second / n`; p is the chance of at least *common* items in both (hypergeometric).

    >>> expected, p = hypergeometric_overlap(100, 10, 10, 5)
    >>> expected, p < 0.001
    (1.0, True)
    """
    from scipy.stats import hypergeom

    if not 0 <= max(first, second) <= n or not 0 <= common <= min(first, second):
        raise ArgumentError(
            f"sets of {first} and {second} of {n} things cannot have {common} in common: expected 0 <= common <= "
            "first, second <= n"
        )

    return first * second / n, float(hypergeom.sf(common - 1, n, first, second))


@checked()
def smallest_count(shares: Float[np.ndarray, "m"], wanted: float) -> int | None:
    """Return how many things it takes until the share is at least *wanted*, None if it never is.

    `shares[i]` is the share of the first i + 1 things; the count is the first one that reaches it and all that follow
    may do as they like.

    >>> smallest_count(np.array([0.3, 0.7, 0.85, 0.6]), 0.8)
    3
    """
    reached = np.flatnonzero(shares >= wanted)
    return int(reached[0]) + 1 if reached.size else None
