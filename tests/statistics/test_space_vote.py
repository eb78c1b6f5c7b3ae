"""Nearest neighbours over several spaces against scikit-learn, and the vote against counting."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from promptscope.statistics import nearest_in_spaces, neighbour_vote


@pytest.mark.parametrize(("metric", "theirs"), [("cosine", "cosine"), ("l2", "euclidean")])
def test_neighbours_are_scikit_learns(metric, theirs):
    generator = np.random.default_rng(0)
    spaces = [generator.normal(size=(n, 12)).astype(np.float32) + 0.1 * s for s, n in enumerate((300, 5, 701))]
    queries = generator.normal(size=(9, 12)).astype(np.float32) * 3
    # A generator: that no space is needed twice is part of the promise.
    found, rows, distances = nearest_in_spaces(queries, iter(spaces), 7, metric)
    fitted = NearestNeighbors(n_neighbors=7, metric=theirs, algorithm="brute").fit(np.concatenate(spaces))
    expected, places = fitted.kneighbors(queries)
    starts = np.cumsum([0, 300, 5])
    np.testing.assert_array_equal(starts[found] + rows, places)
    np.testing.assert_allclose(distances, expected, atol=1e-5)


def test_equal_vectors_come_in_the_order_of_the_spaces():
    spaces = [np.eye(3)[::-1].copy(), np.eye(3), np.eye(3)]
    found, rows, _ = nearest_in_spaces(np.eye(3)[:1], spaces, 3)
    assert found.tolist() == [[0, 1, 2]]
    assert rows.tolist() == [[2, 0, 0]]


def test_a_token_is_voted_into_the_space_it_was_drawn_from():
    generator = np.random.default_rng(1)
    centres = 4 * generator.normal(size=(6, 8))
    spaces = [centre + generator.normal(size=(50, 8)) for centre in centres]
    queries = centres[[3, 0, 5]] + 0.1
    for metric in ("cosine", "l2"):
        winner, share = neighbour_vote(nearest_in_spaces(queries, spaces, 7, metric)[0])
        assert winner.tolist() == [3, 0, 5]
        assert (share > 0.5).all()


@given(st.lists(st.lists(st.integers(0, 4), min_size=7, max_size=7), min_size=1, max_size=5))
def test_vote_is_the_first_of_the_most_common(neighbours):
    """Counter keeps the order of first appearance among equal counts: the rule of the authors' code."""
    winner, share = neighbour_vote(np.array(neighbours))
    counted = [Counter(row).most_common()[0] for row in neighbours]
    assert list(zip(winner.tolist(), share.tolist(), strict=True)) == [(label, n / 7) for label, n in counted]


def test_spaces_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="width of the queries, 3, and space 1 has width 4"):
        nearest_in_spaces(np.ones((2, 3)), [np.ones((5, 3)), np.ones((5, 4))], 2)
    with pytest.raises(ValueError, match="at least n=7 vectors together, got 5"):
        nearest_in_spaces(np.ones((2, 3)), [np.ones((2, 3)), np.ones((3, 3))], 7)


@pytest.mark.slow
def test_25_vocabularies_in_4_gb_and_a_minute():
    """All 25 in memory at once; a process of its own, so that its peak is theirs. Seconds are of this process's CPU."""
    program = """
import resource, time
import numpy as np
from promptscope.statistics import nearest_in_spaces
base = np.random.default_rng(0).standard_normal((30_522, 768), dtype=np.float32)
spaces = [base[::-1] + np.float32(0.01 * s) for s in range(25)]
queries = np.random.default_rng(1).standard_normal((16, 768), dtype=np.float32)
spent = {}
for metric in ("cosine", "l2"):
    begun = time.process_time()
    nearest_in_spaces(queries, spaces, 7, metric)
    spent[metric] = round(time.process_time() - begun, 1)
print(max(spent.values()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    seconds, gigabytes = map(float, finished.stdout.split())
    assert seconds < 60
    assert gigabytes < 4
