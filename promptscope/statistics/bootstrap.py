"""Bootstrap intervals over examples."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from promptscope.checks import check_between, checked
from promptscope.errors import ArgumentError

_CELLS_AT_ONCE = 4_000_000  # 32 MB of fp64 weights


@checked(n_examples=1, n_resamples=1, seed=0)
def bootstrap_interval(
    estimate: Callable[[Float[np.ndarray, "R X"]], Float[np.ndarray, "R *shape"]],
    n_examples: int,
    level: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
    """Return the percentile bootstrap interval of a quantity that is computed from *n_examples* examples.

    A resample of X examples with replacement is a row of weights `w_x >= 0`, `sum_x w_x = 1`: how often each example
    was drawn, divided by X. *estimate* maps R such rows (R, X) to R values of the quantity `(R, *shape)`: a mean is
    `lambda w: w @ values`, a ratio of sums `lambda w: (w @ a) / (w @ b)`.

    Returns:
        (low, high): the (1 - level)/2 and (1 + level)/2 quantiles over *n_resamples* resamples; NaN for a single
        example, which says nothing about others.

    Raises:
        ArgumentError: *estimate* returns another number of values than it gets rows.

    Reference: Efron & Tibshirani 1993, chapter 13.

    >>> values = np.arange(10.0)
    >>> low, high = bootstrap_interval(lambda weights: weights @ values, len(values))
    >>> bool(low < values.mean() < high)
    True
    """
    check_between("level", level, 0, 1)
    generator = np.random.default_rng(seed)
    rows = max(1, _CELLS_AT_ONCE // max(n_examples, 1))
    samples = []
    for start in range(0, n_resamples, rows):
        size = min(rows, n_resamples - start)
        counts = generator.multinomial(n_examples, np.full(n_examples, 1 / n_examples), size=size)
        values = np.asarray(estimate(counts / n_examples))
        if values.shape[:1] != (size,):
            raise ArgumentError(
                f"estimate must return one value for each of {size} rows of weights, shape "
                f"({size}, ...), and returned shape {values.shape}"
            )
        samples.append(values)
    interval = np.quantile(np.concatenate(samples), [(1 - level) / 2, (1 + level) / 2], axis=0)
    if n_examples < 2:
        interval = np.full_like(interval, np.nan)
    return np.asarray(interval[0]), np.asarray(interval[1])


@checked(n_resamples=1, seed=0)
def mean_interval(
    values: Float[np.ndarray, "X *shape"], level: float = 0.95, n_resamples: int = 1000, seed: int = 0
) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
    """Return the percentile bootstrap interval (low, high) of the mean over the first axis, see `bootstrap_interval`.

    >>> low, high = mean_interval(np.arange(100.0))
    >>> bool(43 < low < 45 and 54 < high < 56)  # 49.5 +- 1.96 * 28.9 / 10
    True
    """
    return bootstrap_interval(
        lambda weights: np.tensordot(weights, values.astype(np.float64), axes=1),
        len(values),
        level,
        n_resamples,
        seed,
    )
