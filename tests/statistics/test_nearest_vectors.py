"""Nearest rows in blocks, against scikit-learn; the yardstick of a vocabulary's own distances."""

import subprocess
import sys

import jaxtyping
import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from promptscope.statistics import nearest_vectors, own_nearest_distances, percentile_of

BLOCK = "promptscope.statistics.nearest._BLOCK_BYTES"


def data(dtype=np.float32):
    generator = np.random.default_rng(0)
    return generator.normal(size=(17, 12)).astype(dtype), (generator.normal(size=(300, 12)) + 0.2).astype(dtype)


@pytest.mark.parametrize("block_bytes", [64_000_000, 4 * 17 * 7])  # one block; blocks of 7 rows
@pytest.mark.parametrize(("metric", "theirs"), [("cosine", "cosine"), ("l2", "euclidean")])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neighbours_are_those_of_scikit_learn(metric, theirs, dtype, block_bytes, monkeypatch):
    monkeypatch.setattr(BLOCK, block_bytes)
    queries, table = data(dtype)
    rows, distances = nearest_vectors(queries, table, n=5, metric=metric)
    model = NearestNeighbors(n_neighbors=5, metric=theirs, algorithm="brute").fit(table.astype(np.float64))
    expected_distances, expected_rows = model.kneighbors(queries.astype(np.float64))
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(distances, expected_distances, atol=1e-10)


def test_dot_is_ordered_by_the_product_and_lower_is_nearer():
    queries, table = data()
    rows, distances = nearest_vectors(queries, table, n=4, metric="dot")
    products = queries.astype(np.float64) @ table.T.astype(np.float64)
    np.testing.assert_array_equal(rows, np.argsort(-products, axis=1)[:, :4])
    np.testing.assert_allclose(distances, np.sort(-products, axis=1)[:, :4], atol=1e-10)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_a_row_is_its_own_neighbour_at_distance_exactly_zero(metric):
    _, table = data()
    table = 100 + table  # long and nearly parallel rows, where the expanded square rounds to 0.1
    rows, distances = nearest_vectors(table[:50], table, n=1, metric=metric)
    assert rows[:, 0].tolist() == list(range(50))
    assert (distances == 0).all()


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("centres", [[1000.0], [1000.0, -1000.0]])
def test_clusters_that_are_small_beside_their_place(metric, centres):
    """Rounded to fp32, the expanded squares of rows at 1000 are off by more than the rows are apart."""
    generator = np.random.default_rng(4)
    rows = np.concatenate([centre + 0.3 * generator.normal(size=(9, 64)) for centre in centres]).astype(np.float32)
    wide = rows.astype(np.float64)
    expected = cdist(wide, wide, {"l2": "euclidean"}.get(metric, metric))
    np.fill_diagonal(expected, np.inf)
    found, distances = nearest_vectors(rows, rows, n=1, metric=metric, exclude=np.arange(len(rows)))
    np.testing.assert_array_equal(found[:, 0], expected.argmin(axis=1))
    np.testing.assert_allclose(distances[:, 0], expected.min(axis=1), rtol=1e-6)


def test_a_large_table_far_from_the_origin():
    generator = np.random.default_rng(5)
    table = (1000.0 + generator.normal(size=(400, 64))).astype(np.float32)
    queries = table[:50] + np.float32(0.01)
    rows, _ = nearest_vectors(queries, table, n=5, metric="l2")
    expected = cdist(queries.astype(np.float64), table.astype(np.float64))
    np.testing.assert_array_equal(rows, np.argsort(expected, axis=1)[:, :5])


def test_a_query_can_be_left_out_of_its_own_neighbours(monkeypatch):
    monkeypatch.setattr(BLOCK, 4 * 300 * 11)
    _, table = data()
    rows, distances = nearest_vectors(table, table, n=2, metric="l2", exclude=np.arange(300))
    model = NearestNeighbors(n_neighbors=2).fit(table.astype(np.float64))
    expected, expected_rows = model.kneighbors()  # without the points themselves
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(distances, expected, atol=1e-10)
    np.testing.assert_allclose(own_nearest_distances(table, "l2", n_sample=None), expected[:, 0], atol=1e-10)


def test_sampled_rows_are_seeded_and_a_part_of_all():
    _, table = data()
    everything = own_nearest_distances(table, n_sample=None)
    sample = own_nearest_distances(table, n_sample=40, seed=1)
    assert len(sample) == 40 and np.isin(sample, everything).all()
    np.testing.assert_array_equal(sample, own_nearest_distances(table, n_sample=40, seed=1))
    assert not np.array_equal(sample, own_nearest_distances(table, n_sample=40, seed=2))


def test_unused_rows_of_zeros_are_nobodys_neighbour():
    table = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    rows, distances = nearest_vectors(np.array([[1.0, 0.2]]), table, n=3)
    assert rows[0, :2].tolist() == [0, 2] and np.isinf(distances[0, 2])
    assert len(own_nearest_distances(table)) == 2
    for own in (0, 2):  # neither is the row that is left out
        _, distances = nearest_vectors(table[own : own + 1], table, n=2, exclude=np.array([own]))
        assert distances.tolist() == [[1.0, np.inf]]


def test_bad_input(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the checks of tests would come first
    with pytest.raises(ValueError, match=r"1\.\.3"):
        nearest_vectors(np.ones((1, 2)), np.ones((3, 2)), n=4)
    with pytest.raises(ValueError, match="zeros has no direction"):
        nearest_vectors(np.zeros((1, 2)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="one of 'cosine', 'l2', 'dot'"):
        nearest_vectors(np.ones((1, 2)), np.ones((3, 2)), metric="manhattan")


def test_percentiles_are_scipys():
    generator = np.random.default_rng(3)
    reference = generator.integers(0, 20, 50).astype(float)  # with ties
    values = np.arange(-1.0, 22.0)
    expected = [stats.percentileofscore(reference, value, kind="mean") for value in values]
    np.testing.assert_allclose(percentile_of(values, reference), expected)


@pytest.mark.slow
def test_a_large_vocabulary_needs_less_than_a_gigabyte_more():
    """In a process of its own: peak memory of 50,000 x 2,048 numbers, before and after."""
    code = """
import resource, numpy as np
from promptscope.statistics import nearest_vectors, own_nearest_distances
table = np.random.default_rng(0).standard_normal((50_000, 2048), dtype=np.float32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
nearest_vectors(table[:1000] + np.float32(0.01), table, n=10)
own_nearest_distances(table, n_sample=1000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kilobytes = int(done.stdout)
    assert kilobytes < 1_000_000


def test_all_the_other_rows_are_neighbours_and_the_row_itself_is_not():
    table = data()[1][:6]
    rows, distances = nearest_vectors(table, table, n=5, exclude=np.arange(6))
    assert [sorted(row) for row in rows.tolist()] == [[j for j in range(6) if j != i] for i in range(6)]
    assert np.isfinite(distances).all()
