"""Are vectors of one group nearer to each other than vectors of different groups?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from promptscope.checks import checked
from promptscope.statistics.distances import check_distances
from promptscope.statistics.labels import members


@checked()
def mean_distance(distances: Float[np.ndarray, "N N"], self_pairs: bool = False) -> float:
    """Return the mean distance over all pairs of N vectors; NaN if there is no pair.

    By default the N zeros on the diagonal, a vector's distance to itself, are left out. With *self_pairs* they are
    included, as Bakalova does, which lowers the mean by the factor `(N - 1)/N`.

    >>> mean_distance(np.array([[0.0, 1.0], [1.0, 0.0]])), mean_distance(np.array([[0.0, 1.0], [1.0, 0.0]]), True)
    (1.0, 0.5)
    """
    check_distances("distances", distances)
    return _mean(distances, self_pairs)


def _mean(distances: np.ndarray, self_pairs: bool = False) -> float:
    kept = distances[np.ones_like(distances, dtype=bool) if self_pairs else _others(len(distances))]
    return float(kept.mean()) if kept.size else float("nan")


@checked()
def group_mean_distances(
    distances: Float[np.ndarray, "N N"], labels: Sequence[Any], self_pairs: bool = False
) -> dict[Any, float]:
    """Return label -> mean distance between the vectors of that label, in the order of first appearance.

    Lower = the vectors of the group are closer together. Compare with `between_groups`, or with `mean_distance` of
    random vectors. A group of one vector has no pair and gives NaN (with *self_pairs*: 0).

    Reference: Bakalova, *Are soft prompts actually not interpretable?*, Tables 1 and 2, Figures 3 and 5,
    which are the means with *self_pairs*.

    >>> line = np.abs(np.subtract.outer(np.array([0.0, 1.0, 5.0, 8.0]), np.array([0.0, 1.0, 5.0, 8.0])))
    >>> group_mean_distances(line, ["a", "a", "b", "b"])
    {'a': 1.0, 'b': 3.0}
    """
    check_distances("distances", distances)
    rows = members(labels, len(distances))
    return {label: _mean(distances[np.ix_(at, at)], self_pairs) for label, at in rows.items()}


@checked()
def between_groups(
    distances: Float[np.ndarray, "N N"], labels: Sequence[Any]
) -> tuple[list[Any], Float[np.ndarray, "G G"]]:
    """Return (groups, mean distances (G, G) between the vectors of any two groups), without self-pairs on the diagonal.

    >>> line = np.abs(np.subtract.outer(np.array([0.0, 1.0, 5.0, 8.0]), np.array([0.0, 1.0, 5.0, 8.0])))
    >>> between_groups(line, ["a", "a", "b", "b"])[1].tolist()
    [[1.0, 6.0], [6.0, 3.0]]
    """
    check_distances("distances", distances)
    rows = members(labels, len(distances))
    means = [
        [_mean(distances[np.ix_(a, a)]) if a is b else float(distances[np.ix_(a, b)].mean()) for b in rows.values()]
        for a in rows.values()
    ]
    return list(rows), np.array(means, dtype=np.float64)


def _others(n: int) -> Bool[np.ndarray, "n n"]:
    return ~np.eye(n, dtype=bool)
