"""Epsilon-neighbourhoods: which vectors are within a distance of a vector, how many, and with which labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from promptscope.checks import check_indices, checked
from promptscope.statistics.distances import Metric, distance_matrix
from promptscope.statistics.labels import coded

_BLOCK_BYTES = 64_000_000


@checked(epsilon=0)
def epsilon_neighbours(
    queries: Float[np.ndarray, "Q d"],
    table: Float[np.ndarray, "V d"] | None = None,
    epsilon: float = 0.7,
    metric: Metric = "cosine",
    self_pairs: bool = False,
) -> list[Int[np.ndarray, "_"]]:
    """Return for each query the rows of *table* at a distance below *epsilon*, nearest first.

    Without *table*, neighbours are searched among the queries themselves; a query counts as its own neighbour only with
    *self_pairs* (as in the counts that Bakalova prints). *table* is read in blocks of 64 MB.

    Reference: Bakalova, *Are soft prompts actually not interpretable?*, section 3.2.1. Epsilon is 0.7 in the text,
    and 0.5 in the code that gave Table 3.

    >>> points = np.array([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0]])
    >>> [rows.tolist() for rows in epsilon_neighbours(points, epsilon=0.5)]
    [[1], [0], []]
    """
    among_themselves = table is None
    table = queries if table is None else table
    rows_per_block = max(1, _BLOCK_BYTES // (8 * max(table.shape[1], len(queries))))
    found: list[list[np.ndarray]] = [[] for _ in queries]
    distances: list[list[np.ndarray]] = [[] for _ in queries]
    for start in range(0, len(table), rows_per_block):
        near = distance_matrix(queries, table[start : start + rows_per_block], metric)
        if among_themselves:
            own = np.arange(start, min(start + rows_per_block, len(table)))
            near[own, own - start] = 0.0 if self_pairs else np.inf
        for query, row in enumerate(near):
            columns = np.flatnonzero(row < epsilon)
            found[query].append(columns + start)
            distances[query].append(row[columns])
    return [
        np.concatenate(rows)[np.argsort(np.concatenate(values), kind="stable")]
        for rows, values in zip(found, distances, strict=True)
    ]


@checked()
def neighbours_alike(
    neighbours: Sequence[Int[np.ndarray, "_"]], labels: Sequence[Any], table_labels: Sequence[Any] | None = None
) -> Int[np.ndarray, "Q"]:
    """Return for each query the number of its neighbours that have its label (word, task, position, ...): (Q,).

    *table_labels* are the labels of the rows in which neighbours were searched; by default those of the queries.

    >>> neighbours_alike([np.array([1, 2]), np.array([0]), np.array([0])], ["a", "a", "b"]).tolist()
    [1, 1, 0]
    """
    codes, others = _coded(neighbours, labels, table_labels)
    return np.array([np.count_nonzero(others[rows] == code) for rows, code in zip(neighbours, codes, strict=True)])


@checked()
def neighbour_counts_by_group(
    neighbours: Sequence[Int[np.ndarray, "_"]], labels: Sequence[Any], table_labels: Sequence[Any] | None = None
) -> tuple[list[Any], list[Any], Int[np.ndarray, "G H"]]:
    """Return (groups of queries, groups of rows, counts (G, H)): how often rows of group h are neighbours of group g.

    *labels* are those of the queries, *table_labels* those of the rows (by default the same).

    Reference: Bakalova, *Are soft prompts actually not interpretable?*, Table 3, whose diagonal includes one
    self-match for each vector.

    >>> neighbour_counts_by_group([np.array([1, 2]), np.array([0]), np.array([0])], ["a", "a", "b"])[2].tolist()
    [[2, 1], [1, 0]]
    """
    codes, others = _coded(neighbours, labels, table_labels)
    of_queries, of_rows = (list(dict.fromkeys(each.tolist())) for each in (codes, others))
    counts = np.zeros((len(of_queries), len(of_rows)), dtype=np.int64)
    for rows, code in zip(neighbours, codes.tolist(), strict=True):
        for other in others[rows].tolist():
            counts[of_queries.index(code), of_rows.index(other)] += 1
    table_labels = labels if table_labels is None else table_labels
    return list(dict.fromkeys(labels)), list(dict.fromkeys(table_labels)), counts


def _coded(
    neighbours: Sequence[np.ndarray], labels: Sequence[Any], table_labels: Sequence[Any] | None
) -> tuple[Int[np.ndarray, "Q"], Int[np.ndarray, "V"]]:
    """Return the labels of queries and of rows as numbers, the same for equal labels."""
    coded(labels, len(neighbours))
    both = [*labels, *(labels if table_labels is None else table_labels)]
    codes = coded(both, len(both), "labels and table_labels")[1]
    queries, others = codes[: len(labels)], codes[len(labels) :]
    for rows in neighbours:
        check_indices("neighbours", rows, len(others))
    return queries, others
