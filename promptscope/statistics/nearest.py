"""Nearest rows of a large table (such as a vocabulary), and how unusual such a distance is."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from promptscope.checks import check_indices, checked
from promptscope.errors import ArgumentError
from promptscope.statistics.distances import unit

NearMetric = Literal["cosine", "l2", "dot"]

_BLOCK_BYTES = 32_000_000
# Blocks are compared in fp32, where |x|^2 + |y|^2 - 2<x, y> of equal vectors is not 0 but 1e-7 |x|^2. So the mean of
# the table is taken away first, a few more candidates than asked for are kept, and these are put in order by distances
# that are computed again, in fp64.
_SPARE = 8


@checked(n=1)
def nearest_vectors(
    queries: Float[np.ndarray, "Q d"],
    table: Float[np.ndarray, "V d"],
    n: int = 1,
    metric: NearMetric = "cosine",
    exclude: Int[np.ndarray, "Q"] | None = None,
) -> tuple[Int[np.ndarray, "Q n"], Float[np.ndarray, "Q n"]]:
    """Return (rows, distances), both (Q, n): the *n* rows of *table* (V, d) nearest to each query, nearest first.

    - `cosine`: cosine distance, in [0, 2];
    - `l2`: `|x - y|`, >= 0;
    - `dot`: `-<x, y>`, unbounded; it favours long rows, so that a row may not be the nearest to itself.

    Lower = nearer for all three. *exclude* (Q,) names one row for each query that is not considered, such as the
    query's own (-1: none). Rows of zeros have no direction and are never neighbours by cosine. *table* is read in
    blocks: with 50,000 x 2,048 numbers and 1,000 queries, less than 0.5 GB of additional memory is used.

    Raises:
        ArgumentError: fewer usable rows than *n*, a query of zeros with `cosine`, or a row in *exclude* that the table
            does not have.

    >>> table = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    >>> rows, distances = nearest_vectors(np.array([[0.0, 2.9]]), table, n=2, metric="l2")
    >>> rows.tolist(), distances.round(3).tolist()
    ([[2, 1]], [[0.1, 1.9]])
    """
    n_usable = len(table) - (exclude is not None)
    if not 1 <= n <= n_usable:
        raise ArgumentError(f"n must be in 1..{n_usable} for a table of {len(table)} rows, got {n}")
    if metric == "cosine" and not queries.any(axis=1).all():
        raise ArgumentError("a query of zeros has no direction and no nearest row by cosine: use metric='l2'")
    if exclude is not None:
        check_indices("exclude", exclude, len(table), low=-1)
    keep = min(n + _SPARE, n_usable)
    # Only L2 distances stay as they are when everything is moved.
    origin = table.mean(axis=0, dtype=np.float64) if metric == "l2" else np.zeros(1)
    size = max(_size(queries), _size(table))  # products of fp32 numbers overflow at 1e19
    centred = _scaled(queries - origin, metric, size)
    rows = np.zeros((len(queries), 0), dtype=np.int64)
    scores = np.zeros((len(queries), 0), dtype=np.float32)
    for start, block in _blocks(table, len(queries)):
        new = _distances(centred, _scaled(block - origin, metric, size), metric)
        if exclude is not None:
            _forget(new, exclude - start)
        rows, scores = _best(rows, scores, new, start, keep)
    exact = np.stack([_exact(query, table[at], metric) for query, at in zip(queries, rows, strict=True)])
    if exclude is not None:
        exact[rows == exclude[:, None]] = np.inf
    order = np.lexsort((rows, exact), axis=1)[:, :n]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(exact, order, axis=1)


@checked(n_sample=1, seed=0)
def own_nearest_distances(
    table: Float[np.ndarray, "V d"],
    metric: NearMetric = "cosine",
    n_sample: int | None = 1000,
    seed: int = 0,
) -> Float[np.ndarray, "S"]:
    """Return the distances from rows of *table* to their nearest other row, to compare other distances with.

    *n_sample* rows are drawn without replacement (None: all V, which takes V^2 d operations), and each is compared with
    the whole table. Rows of zeros are not drawn.

    >>> own_nearest_distances(np.array([[0.0, 0.5], [1.0, 0.5], [5.0, 0.5]]), "l2").tolist()
    [1.0, 1.0, 4.0]
    """
    candidates = np.flatnonzero(table.any(axis=1))
    if not len(candidates):
        raise ArgumentError("all rows of the table are zeros: none has a nearest other row")
    if n_sample is not None and n_sample < len(candidates):
        candidates = np.sort(np.random.default_rng(seed).choice(candidates, n_sample, replace=False))
    found = [
        nearest_vectors(table[part], table, 1, metric, exclude=part)[1][:, 0]
        for part in np.array_split(candidates, max(1, -(-len(candidates) // 1000)))
    ]
    return np.concatenate(found)


@checked()
def percentile_of(
    values: Float[np.ndarray, "*shape"], reference: Float[np.ndarray, "R"]
) -> Float[np.ndarray, "*shape"]:
    """Return where each value lies in *reference* (R,), as a percentile in [0, 100].

    It is the percentage of the reference below the value plus half of that equal to it; 50 = the median. For the
    distance to the nearest token, with `own_nearest_distances` as reference: 100 = further from every token than any
    token is from its own nearest neighbour.

    >>> percentile_of(np.array([0.0, 2.0, 9.0]), np.array([1.0, 2.0, 3.0, 4.0])).tolist()
    [0.0, 37.5, 100.0]
    """
    ordered = np.sort(reference)
    ranks = np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right")
    return np.asarray(50.0 * ranks / len(ordered))


def _blocks(table: np.ndarray, n_queries: int) -> Iterator[tuple[int, np.ndarray]]:
    rows = max(1, _BLOCK_BYTES // (4 * max(table.shape[1], n_queries)))
    for start in range(0, len(table), rows):
        yield start, table[start : start + rows]


def _size(values: np.ndarray) -> float:
    return max(float(-values.min()), float(values.max()))


def _scaled(values: np.ndarray, metric: NearMetric, size: float) -> Float[np.ndarray, "N d"]:
    """Return rows in float32, scaled so that their squares neither underflow nor overflow; cosines do not change."""
    by = np.abs(values).max(axis=1, keepdims=True) if metric == "cosine" else np.array(size)
    return (values / np.where(by > 0, by, 1)).astype(np.float32)


def _distances(queries: np.ndarray, block: np.ndarray, metric: NearMetric) -> Float[np.ndarray, "Q B"]:
    """Return distances in float32, up to terms that do not change the order of rows for a query."""
    products = queries @ block.T
    squares = np.einsum("ij,ij->i", block, block)
    if metric == "dot":
        return -products
    if metric == "l2":
        return squares - 2 * products
    return -products / np.sqrt(np.where(squares > 0, squares, np.inf)) + np.where(squares > 0, 0, np.inf)


def _forget(distances: Float[np.ndarray, "Q B"], columns: Int[np.ndarray, "Q"]) -> None:
    here = (columns >= 0) & (columns < distances.shape[1])
    distances[np.flatnonzero(here), columns[here]] = np.inf


def _best(
    rows: np.ndarray, scores: np.ndarray, new: np.ndarray, start: int, keep: int
) -> tuple[np.ndarray, np.ndarray]:
    """Merge the best rows so far with those of a block; at most *keep* are kept."""
    if new.shape[1] > keep:
        columns = np.argpartition(new, keep - 1, axis=1)[:, :keep]
        new = np.take_along_axis(new, columns, axis=1)
    else:
        columns = np.broadcast_to(np.arange(new.shape[1]), new.shape)
    rows, scores = np.hstack([rows, columns + start]), np.hstack([scores, new])
    if rows.shape[1] > keep:
        order = np.argpartition(scores, keep - 1, axis=1)[:, :keep]
        rows, scores = np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
    return rows, scores


def _exact(query: np.ndarray, found: np.ndarray, metric: NearMetric) -> Float[np.ndarray, "n"]:
    a, b = query.astype(np.float64), found.astype(np.float64)
    if metric == "dot":
        return -(b @ a)
    if metric == "l2":
        return np.linalg.norm(a - b, axis=1)
    # Half the squared distance of unit vectors is 1 - cosine, and exactly 0 for equal ones.
    halves = np.square(unit(b) - unit(a[None])).sum(axis=1) / 2
    return np.where(np.isnan(halves), np.inf, halves)
