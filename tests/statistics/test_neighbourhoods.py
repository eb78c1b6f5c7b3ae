"""Epsilon-neighbourhoods against scikit-learn and loops."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from promptscope.statistics import (
    distance_matrix,
    epsilon_neighbours,
    neighbour_counts_by_group,
    neighbours_alike,
)

BLOCK = "promptscope.statistics.neighbourhoods._BLOCK_BYTES"
GENERATOR = np.random.default_rng(0)
X, TABLE = GENERATOR.normal(size=(24, 4)), GENERATOR.normal(size=(60, 4))
LABELS = [i % 3 for i in range(24)]


@pytest.mark.parametrize("block_bytes", [64_000_000, 8 * 24 * 7])
@pytest.mark.parametrize(("metric", "theirs", "epsilon"), [("cosine", "cosine", 0.4), ("l2", "euclidean", 1.5)])
def test_neighbours_are_those_of_scikit_learn(metric, theirs, epsilon, block_bytes, monkeypatch):
    monkeypatch.setattr(BLOCK, block_bytes)
    model = NearestNeighbors(radius=epsilon, metric=theirs, algorithm="brute").fit(TABLE)
    expected = model.radius_neighbors(X, return_distance=True, sort_results=True)[1]
    found = epsilon_neighbours(X, TABLE, epsilon, metric)
    assert [rows.tolist() for rows in found] == [rows.tolist() for rows in expected]
    assert sum(map(len, found)) > 24  # the test looks at something


@pytest.mark.parametrize("block_bytes", [64_000_000, 8 * 24 * 7])
def test_self_pairs_add_one_neighbour_to_each(block_bytes, monkeypatch):
    monkeypatch.setattr(BLOCK, block_bytes)
    without, with_self = epsilon_neighbours(X, epsilon=0.4), epsilon_neighbours(X, epsilon=0.4, self_pairs=True)
    for i, (a, b) in enumerate(zip(without, with_self, strict=True)):
        assert i not in a.tolist() and b.tolist() == [i, *a.tolist()]


def test_composition_is_that_of_a_loop():
    near = distance_matrix(X) < 0.4
    neighbours = epsilon_neighbours(X, epsilon=0.4)
    alike = [sum(near[i, j] and LABELS[i] == LABELS[j] and i != j for j in range(24)) for i in range(24)]
    assert neighbours_alike(neighbours, LABELS).tolist() == alike
    rows, columns, counts = neighbour_counts_by_group(neighbours, LABELS)
    assert rows == columns == [0, 1, 2]
    for g in range(3):
        for h in range(3):
            pairs = [(i, j) for i in range(24) for j in range(24) if i != j and LABELS[i] == g and LABELS[j] == h]
            assert counts[g, h] == sum(near[pair] for pair in pairs)
    np.testing.assert_array_equal(counts, counts.T)
    assert np.trace(counts) == sum(alike)


def test_self_pairs_raise_the_diagonal_by_the_size_of_the_group():
    """As in the paper's Table 3: 40 vectors a task, 40 self-matches on each diagonal."""
    counts, with_self = (
        neighbour_counts_by_group(epsilon_neighbours(X, epsilon=0.4, self_pairs=s), LABELS)[2] for s in (False, True)
    )
    np.testing.assert_array_equal(with_self - counts, np.diag([8, 8, 8]))


def test_neighbours_in_a_table_of_another_kind():
    neighbours = epsilon_neighbours(X, TABLE, 0.4)
    kinds = ["word" if i < 30 else "prompt" for i in range(60)]
    _, columns, counts = neighbour_counts_by_group(neighbours, ["all"] * 24, kinds)
    found = {kind: int(count) for kind, count in zip(columns, counts[0], strict=True)}
    rows = np.concatenate(neighbours)
    assert found == {"word": int((rows < 30).sum()), "prompt": int((rows >= 30).sum())}
