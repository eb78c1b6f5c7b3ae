"""Distance matrices and averages over groups, against scikit-learn, SciPy and loops."""

import itertools

import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import cosine_distances, euclidean_distances

from promptscope.statistics import between_groups, distance_matrix, group_mean_distances, mean_distance

VECTORS = arrays(np.float64, st.tuples(st.integers(3, 7), st.just(4)), elements=st.floats(0.1, 10.0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances_are_those_of_scikit_learn_and_scipy(dtype):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(20, 9)).astype(dtype), generator.normal(size=(7, 9)).astype(dtype)
    wide_x, wide_y = x.astype(np.float64), y.astype(np.float64)
    np.testing.assert_allclose(distance_matrix(x, y), cosine_distances(wide_x, wide_y), atol=1e-12)
    np.testing.assert_allclose(distance_matrix(x), cdist(wide_x, wide_x, "cosine"), atol=1e-12)
    np.testing.assert_allclose(distance_matrix(x, y, "l2"), euclidean_distances(wide_x, wide_y), atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(x=VECTORS, scale=st.floats(0.1, 50.0))
def test_identities(x, scale):
    cosine, l2 = distance_matrix(x), distance_matrix(x, metric="l2")
    for distances in (cosine, l2):
        np.testing.assert_array_equal(distances, distances.T)
        assert (np.diag(distances) == 0).all()
        assert (distances >= 0).all()
    assert (cosine <= 2).all()
    np.testing.assert_allclose(distance_matrix(scale * x), cosine, atol=1e-9)  # direction only
    np.testing.assert_allclose(distance_matrix(scale * x, metric="l2"), scale * l2, rtol=1e-9, atol=1e-12)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    np.testing.assert_allclose(distance_matrix(x @ rotation, metric="l2"), l2, atol=1e-9)


def test_a_vector_of_zeros_has_no_direction():
    distances = distance_matrix(np.array([[0.0, 0.0], [1.0, 2.0]]))
    assert np.isnan(distances[0]).all() and np.isnan(distances[:, 0]).all() and distances[1, 1] == 0


def test_an_unknown_metric_is_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the checks of tests would come first
    with pytest.raises(ValueError, match="one of 'cosine', 'l2'"):
        distance_matrix(np.eye(2), metric="dot")


def test_group_means_are_those_of_a_loop():
    generator = np.random.default_rng(1)
    distances = distance_matrix(generator.normal(size=(12, 5)))
    labels = ["a", "b", "c"] * 3 + ["b", "b", "c"]
    for self_pairs in (False, True):
        means = group_mean_distances(distances, labels, self_pairs)
        assert list(means) == ["a", "b", "c"]
        for label, mean in means.items():
            members = [i for i in range(12) if labels[i] == label]
            loop = [distances[i, j] for i, j in itertools.product(members, members) if self_pairs or i != j]
            assert mean == pytest.approx(np.mean(loop))
    groups, means_between = between_groups(distances, labels)
    assert groups == ["a", "b", "c"]
    crossed = [distances[i, j] for i in range(12) for j in range(12) if labels[i] == "a" and labels[j] == "c"]
    assert means_between[0, 2] == pytest.approx(np.mean(crossed)) == means_between[2, 0]
    assert means_between[1, 1] == pytest.approx(group_mean_distances(distances, labels)["b"])


@pytest.mark.parametrize("n", [24, 40])
def test_self_pairs_lower_a_mean_by_the_factor_that_the_papers_tables_are_low_by(n):
    distances = distance_matrix(np.random.default_rng(2).normal(size=(n, 6)))
    with_self, without = mean_distance(distances, self_pairs=True), mean_distance(distances)
    assert with_self == pytest.approx(without * (n - 1) / n)


def test_a_group_of_one_has_no_pair():
    assert np.isnan(group_mean_distances(np.zeros((2, 2)), ["a", "b"])["a"])
    with pytest.raises(ValueError, match="each of 2 items, got 3"):
        group_mean_distances(np.zeros((2, 2)), ["a", "b", "c"])
