"""Among which model's embeddings does a prompt token lie? Nearest neighbours over several matrices, and their vote."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int

from promptscope.checks import checked
from promptscope.errors import ArgumentError
from promptscope.statistics.distances import Metric
from promptscope.statistics.nearest import nearest_vectors


@checked(n=1)
def nearest_in_spaces(
    queries: Float[np.ndarray, "Q d"],
    spaces: Iterable[Float[np.ndarray, "_ _"]],
    n: int = 7,
    metric: Metric = "cosine",
) -> tuple[Int[np.ndarray, "Q n"], Int[np.ndarray, "Q n"], Float[np.ndarray, "Q n"]]:
    """Return the *n* vectors of all *spaces* together that are nearest to each query, nearest first.

    They are returned as (spaces, rows, distances), each (Q, n). *spaces* are embedding matrices of one width and any
    number of rows; all rows are used. Of equal distances, the earlier space and row come first. *spaces* may be a
    generator that loads one matrix after the other, so that only one is in memory: 25 vocabularies of 30,522 x 768
    would be 2.3 GB in float32.

    Raises:
        ArgumentError: a space of another width, fewer than *n* vectors in all, or as in `nearest_vectors`.

    Reference: Reimann & Sadrieh 2024, section 3.1, "prompt token model mapping", with n = 7.

    >>> spaces = [np.array([[0.0, 1.0]]), np.array([[1.0, 0.0], [0.0, 3.0]])]
    >>> found, rows, distances = nearest_in_spaces(np.array([[0.0, 1.5]]), spaces, n=2, metric="l2")
    >>> found.tolist(), rows.tolist(), distances.tolist()
    ([[0, 1]], [[0, 1]], [[0.5, 1.5]])
    """
    width = queries.shape[1]
    parts, total = [], 0
    for s, table in enumerate(spaces):
        if table.shape[1] != width:
            raise ArgumentError(
                f"all spaces must have the width of the queries, {width}, and space {s} has width {table.shape[1]}"
            )
        rows, distances = nearest_vectors(queries, table, min(n, len(table)), metric)
        parts.append((np.full_like(rows, s), rows, distances))
        total += len(table)
    if total < n:
        raise ArgumentError(f"the spaces must have at least n={n} vectors together, got {total}")
    found, rows, distances = (np.concatenate(columns, axis=1) for columns in zip(*parts, strict=True))
    order = np.lexsort((rows, found, distances), axis=1)[:, :n]
    nearest = [np.take_along_axis(values, order, axis=1) for values in (found, rows, distances)]
    return nearest[0], nearest[1], nearest[2]


@checked()
def neighbour_vote(neighbours: Int[np.ndarray, "Q n"]) -> tuple[Int[np.ndarray, "Q"], Float[np.ndarray, "Q"]]:
    """Return for each query the space of most of its neighbours, and that space's share of them, in (0, 1].

    *neighbours* (Q, n) is the space of each neighbour, nearest first. If several spaces have the most votes, that of
    the nearest neighbour among them wins, as in the code of Reimann & Sadrieh 2024; its text names no rule.

    >>> winner, share = neighbour_vote(np.array([[2, 0, 0, 2, 1]]))
    >>> winner.tolist(), share.tolist()
    ([2], [0.4])
    """
    votes = (neighbours[:, :, None] == neighbours[:, None, :]).sum(axis=2)
    first = votes.argmax(axis=1)[:, None]
    winner, count = (np.take_along_axis(values, first, axis=1)[:, 0] for values in (neighbours, votes))
    return winner, count / neighbours.shape[1]
