"""Pearson correlation over the heads of groups of layers."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.stats import pearsonr

from promptscope.checks import check_indices, checked
from promptscope.errors import ArgumentError


@checked(n_layers=1, n_groups=1)
def layer_quarters(n_layers: int, n_groups: int = 4) -> list[list[int]]:
    """Divide the layers into *n_groups* groups by depth, as equal as possible, larger ones first.

    24 layers in 4 groups: 0-5, 6-11, 12-17, 18-23.

    >>> layer_quarters(6)
    [[0, 1], [2, 3], [4], [5]]
    """
    groups = np.array_split(np.arange(n_layers), min(n_groups, n_layers))
    return [group.tolist() for group in groups]


@checked()
def grouped_pearson(
    x: Float[np.ndarray, "L H"], y: Float[np.ndarray, "L H"], groups: Sequence[Sequence[int]]
) -> Float[np.ndarray, "4 G"]:
    """Return r, two-sided p-value and 95 % interval (low, high) over the heads of each group of layers: (4, G).

    *x* and *y* (L, H) hold one number for each head; *groups* lists the layers of each of G groups. r is in [-1, 1]; p
    is by the t-test and the interval by Fisher's z (SciPy's `pearsonr`), which treat heads as independent. NaN for
    fewer than three heads, or if x or y is constant.

    Raises:
        ArgumentError: a group without layers, or with a layer twice.

    >>> x = np.arange(8.0).reshape(2, 4)
    >>> r, p, low, high = grouped_pearson(x, x**2, [[0, 1]])
    >>> float(r[0].round(3)), bool(p[0] < 0.001), bool(low[0] < r[0] < high[0])
    (0.962, True, True)
    """
    for rows in groups:
        check_indices("rows of groups", np.array(rows, dtype=np.int64), len(x))
        if len(set(rows)) < len(rows) or not rows:
            raise ArgumentError(f"each group must list at least one layer, and no layer twice, got {list(rows)}")
    return np.array([_pearson(x[list(rows)].ravel(), y[list(rows)].ravel()) for rows in groups]).T


def _pearson(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float]:
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return (np.nan,) * 4
    found = pearsonr(x, y)
    low, high = found.confidence_interval(0.95) if len(x) > 3 else (np.nan, np.nan)
    return float(found.statistic), float(found.pvalue), float(low), float(high)
