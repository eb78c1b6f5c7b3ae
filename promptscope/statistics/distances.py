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
    """Return the distances of all rows of *x* to all rows of *y* (default: *x* itself), in fp64.

    - `cosine`: `1 - <x, y> / (|x| |y|)`, in [0, 2]; 0 = same direction, 1 = orthogonal, 2 = opposite. NaN for a
      vector of zeros, which has no direction. (S1, section 3.1)
    - `l2`: `|x - y|`, >= 0.

    The diagonal is exactly 0 where *y* is left out.

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
    """Refuse what cannot be the distances of N things among themselves, up to rounding.

    Raises:
        ValueError: a negative distance, one of a thing to itself, or one that depends on the direction.
    """
    rounding = 1e-5 * float(np.abs(distances).max())
    if distances.min() < -rounding:
        raise ArgumentError(f"{name} must not be negative, got {distances.min():.4g}: are these similarities?")
    if np.abs(np.diagonal(distances)).max() > rounding:
        raise ArgumentError(f"{name} of things to themselves must be 0, got {np.abs(np.diagonal(distances)).max():.4g}")
    if np.abs(distances - distances.T).max() > rounding:
        raise ArgumentError(f"{name} must be symmetric: from vector i to j as from j to i")


def unit(x: Float[np.ndarray, "N d"]) -> Float[np.ndarray, "N d"]:
    """Return the rows of *x* at length one; NaN for rows of zeros."""
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(norms > 0, norms, np.nan).astype(x.dtype)
