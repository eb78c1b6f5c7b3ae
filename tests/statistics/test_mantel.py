"""Mantel's test against all orders of a small case, SciPy, and its promise: uniform p-values under the null."""

import itertools

import jaxtyping
import numpy as np
import pytest
from scipy import stats

from promptscope.statistics import distance_matrix, mantel_test


def pair(n, seed, noise):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, 4))
    return distance_matrix(x, metric="l2"), distance_matrix(x + noise * generator.normal(size=(n, 4)), metric="l2")


def test_correlation_and_naive_p_are_scipys():
    x, y = pair(24, 0, 1.0)
    upper = np.triu_indices(24, 1)
    test = mantel_test(x, y)
    theirs = stats.pearsonr(x[upper], y[upper])
    assert (test.correlation, test.naive_p_value) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert (test.n_vectors, test.n_distances) == (24, 276)
    everything = mantel_test(x, y, pairs="all")
    assert everything.n_distances == 576  # as the paper counts
    assert everything.correlation == pytest.approx(stats.pearsonr(x.ravel(), y.ravel()).statistic)
    assert everything.correlation > test.correlation  # shared zeros on the diagonal


def test_p_value_is_the_share_of_all_orders():
    x, y = pair(6, 1, 1.5)
    upper = np.triu_indices(6, 1)
    values = [
        np.corrcoef(x[upper], y[np.ix_(order, order)][upper])[0, 1]
        for order in map(list, itertools.permutations(range(6)))
    ]
    exact = np.mean(np.abs(values) >= abs(values[0]) - 1e-12)
    assert abs(mantel_test(x, y, n_permutations=5000).p_value - exact) < 0.02


def test_unrelated_sets_give_uniform_p_values_where_the_naive_one_cries_wolf():
    generator = np.random.default_rng(2)
    tests = []
    for _ in range(200):
        # One odd vector in each set makes a whole row of distances large at once.
        x, y = generator.standard_t(3, size=(2, 12, 3))
        tests.append(mantel_test(distance_matrix(x, metric="l2"), distance_matrix(y, metric="l2"), 99))
    ours = np.mean([test.p_value <= 0.05 for test in tests])
    naive = np.mean([test.naive_p_value <= 0.05 for test in tests])
    assert ours < 0.10 < 0.15 < naive


def test_strata_make_what_they_share_a_part_of_the_null():
    """Two sets agree only because vectors of one position lie together: no agreement within a position."""
    generator = np.random.default_rng(3)
    centres, positions = 10 * generator.normal(size=(4, 3)), [i % 4 for i in range(24)]
    x, y = (distance_matrix(centres[positions] + generator.normal(size=(24, 3)), metric="l2") for _ in range(2))
    free, within = mantel_test(x, y), mantel_test(x, y, strata=positions)
    assert free.correlation == within.correlation > 0.8
    assert free.p_value < 0.01 < 0.05 < within.p_value


def test_seeded():
    x, y = pair(8, 4, 2.0)
    assert mantel_test(x, y, seed=1) == mantel_test(x, y, seed=1)
    assert mantel_test(x, y, seed=1).p_value != mantel_test(x, y, seed=2).p_value


def test_bad_input(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the checks of tests would come first
    x, y = pair(5, 5, 1.0)
    with pytest.raises(ValueError, match=r"y must be .* got float64 of shape \(5, 5\), with x of shape \(4, 4\)"):
        mantel_test(x[:4, :4], y)
    with pytest.raises(ValueError, match="same n >= 3"):
        mantel_test(x[:2, :2], y[:2, :2])
    with pytest.raises(ValueError, match="all distances of x or of y are equal"):
        mantel_test(x, 1.0 - np.eye(5))
    with pytest.raises(ValueError, match="symmetric"):
        mantel_test(x, np.triu(y))
    with pytest.raises(ValueError, match="strata must have one entry for each of 5"):
        mantel_test(x, y, strata=[0, 1])
