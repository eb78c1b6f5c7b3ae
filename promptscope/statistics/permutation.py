"""Permutation tests: what a quantity would be if there were no difference or no relation."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from promptscope.checks import checked
from promptscope.errors import ArgumentError

_CELLS_AT_ONCE = 4_000_000  # 32 MB of fp64 signs


@checked(n_permutations=1, seed=0)
def paired_permutation_test(
    a: Float[np.ndarray, "X *shape"],
    b: Float[np.ndarray, "X *shape"],
    n_permutations: int = 1000,
    seed: int = 0,
) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
    """Return (mean difference `mean_x(a - b)`, two-sided p-value) of two measurements of the same X inputs.

    Null hypothesis: for each input it is random which of its two numbers belongs to *a*, so the sign of each difference
    can be flipped. `p = (1 + #{|flipped mean| >= |mean|}) / (1 + n_permutations)`, never 0. All numbers of an input get
    the same sign; p-values are not corrected for the number of heads or layers.

    Reference: Phipson & Smyth 2010 (the 1 in numerator and denominator).

    >>> noise = np.random.default_rng(0).normal(size=(2, 50))
    >>> difference, p = paired_permutation_test(noise[0] + 2, noise[1])
    >>> float(p) < 0.01
    True
    """
    differences = (a.astype(np.float64) - b.astype(np.float64)).reshape(len(a), -1)
    observed = differences.mean(axis=0)
    generator = np.random.default_rng(seed)
    rows = max(1, _CELLS_AT_ONCE // max(len(a), 1))
    extreme = np.zeros_like(observed)
    for start in range(0, n_permutations, rows):
        signs = generator.choice([-1.0, 1.0], size=(min(rows, n_permutations - start), len(a)))
        flipped = signs @ differences / len(a)
        # A tie must count as a tie although its sum was rounded in another order.
        extreme += (np.abs(flipped) >= np.abs(observed) * (1 - 1e-12)).sum(axis=0)
    p_value = (1 + extreme) / (1 + n_permutations)
    shape = a.shape[1:]
    return observed.reshape(shape), p_value.reshape(shape)


@checked(n_permutations=1, seed=0)
def permutation_null(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    x: np.ndarray,
    y: np.ndarray,
    n_permutations: int = 1000,
    seed: int = 0,
) -> tuple[float, float, Float[np.ndarray, "R"]]:
    """Return (observed, two-sided p-value, null values (R,)) of a statistic of two samples of equal length.

    Null hypothesis: the pairing of *x* with *y* is random; each null value is `statistic(x, y[order])` for a random
    order along the first axis. `p = (1 + #{|null| >= |observed|}) / (1 + n_permutations)`.

    Raises:
        ArgumentError: samples of different lengths, or a statistic that is not one finite number.

    >>> x = np.arange(20.0)
    >>> observed, p, null = permutation_null(lambda a, b: float(np.corrcoef(a, b)[0, 1]), x, 3 * x)
    >>> round(observed, 6), p < 0.01, len(null)
    (1.0, True, 1000)
    """
    if not x.ndim or x.shape[:1] != y.shape[:1]:
        raise ArgumentError(
            f"x and y must have the same length along their first axis, got shapes {x.shape} and {y.shape}"
        )
    generator = np.random.default_rng(seed)
    observed = _number(statistic(x, y))
    null = np.array([_number(statistic(x, y[generator.permutation(len(y))])) for _ in range(n_permutations)])
    extreme = np.sum(np.abs(null) >= abs(observed) * (1 - 1e-12))
    return observed, float((1 + extreme) / (1 + n_permutations)), null


def _number(value: Any) -> float:
    if np.ndim(value) or not np.isfinite(value):
        raise ArgumentError(f"statistic must return one finite number, and returned {value!r} for these samples")
    return float(value)
