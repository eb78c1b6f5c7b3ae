"""Distances between vectors: cosine and L2, as matrices."""

from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist

from promptscope.checks import checked
from promptscope.errors import ArgumentError

Metric = Literal["cosine", "l2"]
"""How far apart two vectors are: 1 - cosine, or the L2 norm of their difference."""


@checked()
def distance_matrix(
    x: Float[np.ndarray, "N d"], y: Float[np.ndarray, "M d"] | None = None, metric: Metric = "cosine"
) -> Float[np.ndarray, "N M"]:
    """Return the distances (N, M) of all rows of *x* (N, d) to all rows of *y* (M, d; default: *x*), in float64.

    - `cosine`: `1 - <x, y> / (|x| |y|)`, in [0, 2]; 0 = same direction, 1 = orthogonal, 2 = opposite. NaN for a vector
      of zeros, which has no direction. (Bakalova, *Are soft prompts actually not interpretable?*, section 3.1)
    - `l2`: `|x - y|`, >= 0.

    Without *y*, the diagonal is exactly 0.

    >>> distance_matrix(np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])).tolist()
    [[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]]
    """
    a = x.astype(np.float64)
    b = a if y is None else y.astype(np.float64)
    if metric == "l2":
        return cdist(a, b)
    distances = np.clip(1.0 - unit(a) @ unit(b).T, 0.0, 2.0)
    if y is None:
        distances = (distances + distances.T) / 2
        np.fill_diagonal(distances, np.where(np.isnan(np.diag(distances)), np.nan, 0.0))
    return distances


def check_distances(name: str, distances: Float[np.ndarray, "N N"]) -> None:
    """Refuse a matrix that cannot hold the distances of N items to each other, up to rounding.

    Raises:
        ArgumentError: a negative distance, a diagonal that is not 0, or a matrix that is not symmetric.
    """
    rounding = 1e-5 * float(np.abs(distances).max())
    if distances.min() < -rounding:
        raise ArgumentError(
            f"{name} must not be negative, got {distances.min():.4g}: if these are similarities, give 1 - similarity"
        )
    if np.abs(np.diagonal(distances)).max() > rounding:
        raise ArgumentError(
            f"{name} must have zeros on the diagonal (each item to itself), got "
            f"{np.abs(np.diagonal(distances)).max():.4g}"
        )
    if np.abs(distances - distances.T).max() > rounding:
        raise ArgumentError(f"{name} must be symmetric, and an entry (i, j) differs from (j, i)")


def unit(x: Float[np.ndarray, "N d"]) -> Float[np.ndarray, "N d"]:
    """Return the rows of *x* scaled to length 1; NaN for rows of zeros."""
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(norms > 0, norms, np.nan).astype(x.dtype)
