"""Do labels name clusters? The silhouette, compared with that of shuffled labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from promptscope.checks import checked
from promptscope.errors import ArgumentError
from promptscope.statistics.distances import check_distances
from promptscope.statistics.labels import coded


@dataclass(frozen=True)
class SilhouetteTest:
    """Mean silhouette (`score`), its mean under shuffled labels (`null_mean`), and the one-sided permutation p-value.

    >>> line = np.abs(np.subtract.outer(np.arange(20.0), np.arange(20.0)))
    >>> found = silhouette_test(line, ["low"] * 10 + ["high"] * 10)
    >>> isinstance(found, SilhouetteTest), found.score > found.null_mean
    (True, True)
    """

    score: float
    null_mean: float
    p_value: float


@checked()
def silhouette(distances: Float[np.ndarray, "N N"], labels: Sequence[Any]) -> float:
    """Return the mean silhouette of N labelled items: `mean_i (b_i - a_i) / max(a_i, b_i)`.

    *distances* (N, N): a_i is the mean distance of item i to the other items with its label, b_i the smallest mean
    distance to the items of another label. An item that is alone in its label counts 0.

    Returns:
        In [-1, 1]: 1 = tight clusters far apart, 0 = none, below 0 = items are nearer to another label than to their
        own.

    Raises:
        ArgumentError: fewer than two labels, as many labels as items, or *distances* is no distance matrix.

    Reference: Rousseeuw 1987; the same number as scikit-learn's `silhouette_score(metric="precomputed")`.

    >>> line = np.abs(np.subtract.outer(np.array([0.0, 1.0, 10.0, 11.0]), np.array([0.0, 1.0, 10.0, 11.0])))
    >>> round(silhouette(line, ["a", "a", "b", "b"]), 3)
    0.9
    """
    return _mean_silhouette(distances.astype(np.float64), _codes(distances, labels))


@checked(n_permutations=1, seed=0)
def silhouette_test(
    distances: Float[np.ndarray, "N N"], labels: Sequence[Any], n_permutations: int = 999, seed: int = 0
) -> SilhouetteTest:
    """Return the silhouette, compared with that of randomly permuted labels.

    `p = (1 + #{shuffled >= observed}) / (1 + n_permutations)`, one-sided (more clustered than chance). Errors are those
    of `silhouette`.

    >>> line = np.abs(np.subtract.outer(np.arange(20.0), np.arange(20.0)))
    >>> silhouette_test(line, ["low"] * 10 + ["high"] * 10).p_value < 0.01
    True
    """
    d, codes = distances.astype(np.float64), _codes(distances, labels)
    generator = np.random.default_rng(seed)
    observed = _mean_silhouette(d, codes)
    null = np.array([_mean_silhouette(d, generator.permutation(codes)) for _ in range(n_permutations)])
    p_value = (1 + int(np.sum(null >= observed - 1e-12))) / (1 + n_permutations)
    return SilhouetteTest(observed, float(null.mean()), p_value)


def _codes(distances: np.ndarray, labels: Sequence[Any]) -> Int[np.ndarray, "N"]:
    check_distances("distances", distances)
    names, codes = coded(labels, len(distances))
    if not 2 <= len(names) < len(codes):
        raise ArgumentError(
            f"a silhouette of {len(codes)} items needs 2 to {len(codes) - 1} different labels, got {len(names)}"
        )
    return codes


def _mean_silhouette(distances: Float[np.ndarray, "N N"], codes: Int[np.ndarray, "N"]) -> float:
    members = np.eye(codes.max() + 1)[codes]  # (N, G)
    sizes = members.sum(axis=0)
    sums = distances @ members
    everyone = np.arange(len(codes))
    alone = sizes[codes] == 1
    own = sums[everyone, codes] / np.where(alone, 1, sizes[codes] - 1)
    means = sums / sizes
    means[everyone, codes] = np.inf
    other = means.min(axis=1)
    larger = np.maximum(own, other)
    return float(np.where(alone | (larger == 0), 0.0, (other - own) / np.where(larger > 0, larger, 1.0)).mean())
