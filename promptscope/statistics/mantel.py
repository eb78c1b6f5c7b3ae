"""Do two sets of distances agree? Pearson's correlation, with a permutation p-value for distances."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from promptscope.checks import checked
from promptscope.errors import ArgumentError
from promptscope.statistics.distances import check_distances
from promptscope.statistics.labels import members


@dataclass(frozen=True)
class MantelTest:
    """Pearson correlation of two distance matrices over the same n vectors, with two p-values.

    `p_value` is the permutation test's. `naive_p_value` treats all distances as independent observations, which they
    are not: n vectors have n(n - 1)/2 distances, and moving one vector changes n - 1 of them.

    >>> points = np.random.default_rng(0).normal(size=(12, 3))
    >>> d = np.linalg.norm(points[:, None] - points[None], axis=-1)
    >>> found = mantel_test(d, d**2, n_permutations=99)
    >>> isinstance(found, MantelTest), found.n_vectors, found.p_value
    (True, 12, 0.01)
    """

    correlation: float
    p_value: float
    naive_p_value: float
    n_vectors: int
    n_distances: int
    n_permutations: int


@checked(n_permutations=1, seed=0)
def mantel_test(
    x: Float[np.ndarray, "n n"],
    y: Float[np.ndarray, "n n"],
    n_permutations: int = 999,
    seed: int = 0,
    pairs: Literal["once", "all"] = "once",
    strata: Sequence[Any] | None = None,
) -> MantelTest:
    """Return Pearson's r of two distance matrices, with the two-sided p-value of the Mantel permutation test.

    Null hypothesis: which vector of *y* corresponds to which of *x* is random. Rows and columns of *y* are permuted
    together: `p = (1 + #{|r_permuted| >= |r|}) / (1 + n_permutations)`, never 0. r is in [-1, 1]; higher = more similar
    geometry.

    Args:
        x, y: symmetric (n, n) distances between vectors i and j of one set and of another, in the same order.
        n_permutations, seed: number and seed of the random permutations.
        pairs: `"once"` uses each pair once, i < j. `"all"` uses all n^2 entries, with the zeros of the diagonal, as
            Bakalova did: every distance counts twice, and the shared zeros alone increase r.
        strata: one label for each vector; vectors are permuted only within a label. With positions as labels and tasks
            as vectors, an agreement that comes from the position alone is part of the null.

    Raises:
        ArgumentError: no distance matrices, fewer than three vectors, or distances that are all equal.

    Reference: Mantel 1967; Bakalova, *Are soft prompts actually not interpretable?*, section 3.1, which gives
    the naive p-value.

    >>> points = np.random.default_rng(0).normal(size=(12, 3))
    >>> d = np.linalg.norm(points[:, None] - points[None], axis=-1)
    >>> test = mantel_test(d, 2 * d)
    >>> round(test.correlation, 6), test.p_value, test.n_distances
    (1.0, 0.001, 66)
    """
    n = len(x)
    if n < 3:
        raise ArgumentError(
            f"x and y must be (n, n) matrices over the same n >= 3 vectors, got {x.shape} and {y.shape}"
        )
    check_distances("x", x)
    check_distances("y", y)
    rows, columns = np.triu_indices(n, 1) if pairs == "once" else np.indices((n, n)).reshape(2, -1)
    chosen_x, chosen_y = x[rows, columns], y[rows, columns]
    a = _standardise(chosen_x, chosen_x)
    b = _standardise(y, chosen_y)  # reordering keeps mean and deviation, so that r is a dot product
    observed = float(a @ b[rows, columns])
    null = np.array([a @ b[order[rows], order[columns]] for order in _orders(n, n_permutations, seed, strata)])
    extreme = int(np.sum(np.abs(null) >= abs(observed) - 1e-12))
    return MantelTest(
        correlation=observed,
        p_value=(1 + extreme) / (1 + n_permutations),
        naive_p_value=float(stats.pearsonr(chosen_x, chosen_y).pvalue),
        n_vectors=n,
        n_distances=len(rows),
        n_permutations=n_permutations,
    )


def _standardise(values: Float[np.ndarray, "*shape"], by: Float[np.ndarray, "m"]) -> Float[np.ndarray, "*shape"]:
    length = np.linalg.norm(by - by.mean())
    if length <= 1e-12 * max(1.0, float(np.abs(by).max())):
        raise ArgumentError("all distances of x or of y are equal, so their correlation is undefined")
    return (values.astype(np.float64) - by.mean()) / length


def _orders(n: int, n_permutations: int, seed: int, strata: Sequence[Any] | None) -> Iterator[Int[np.ndarray, "n"]]:
    generator = np.random.default_rng(seed)
    moving = members([0] * n if strata is None else strata, n, "strata").values()
    for _ in range(n_permutations):
        order = np.arange(n)
        for at in moving:
            order[at] = generator.permutation(at)
        yield order
