"""Grouped correlations and principal components against SciPy and NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr

from promptscope.statistics import grouped_pearson, layer_quarters, principal_components


@pytest.mark.parametrize(
    ("n", "sizes"), [(24, [6, 6, 6, 6]), (30, [8, 8, 7, 7]), (12, [3, 3, 3, 3]), (3, [1, 1, 1]), (1, [1])]
)
def test_quarters_of_the_depth(n, sizes):
    groups = layer_quarters(n)
    assert [len(group) for group in groups] == sizes
    assert [layer for group in groups for layer in group] == list(range(n))


def test_each_group_is_scipy_s():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(8, 4))
    y = x + generator.normal(size=(8, 4))
    got = grouped_pearson(x, y, [[0, 1], [2, 3, 7]])
    for i, rows in enumerate(([0, 1], [2, 3, 7])):
        truth = pearsonr(x[rows].ravel(), y[rows].ravel())
        interval = truth.confidence_interval(0.95)
        np.testing.assert_allclose(got[:, i], [truth.statistic, truth.pvalue, interval.low, interval.high])


def test_undefined_correlations_are_nan_without_a_warning():
    x = np.arange(8.0).reshape(2, 4)
    assert np.isnan(grouped_pearson(x, np.ones((2, 4)), [[0]])).all()
    assert np.isnan(grouped_pearson(x[:, :2], x[:, :2], [[0], [1]])).all()
    r, _, low, _ = grouped_pearson(x[:, :3], x[:, :3] ** 2, [[1]])
    assert np.isfinite(r).all() and np.isnan(low).all()  # Fisher's interval needs four


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_correlation_identities(seed):
    x, y = np.random.default_rng(seed).normal(size=(2, 3, 4))
    r, p, _, _ = grouped_pearson(x, y, [[0, 1, 2]])
    assert -1 <= r[0] <= 1 and 0 <= p[0] <= 1
    np.testing.assert_allclose(grouped_pearson(y, -2 * x + 1, [[2, 0, 1]])[0], -r, atol=1e-12)


@pytest.mark.parametrize("shape", [(30, 6), (5, 40), (700, 600)])
def test_components_are_the_eigenvectors_of_the_covariance(shape):
    generator = np.random.default_rng(1)
    vectors = generator.normal(size=shape) * np.linspace(3, 0.1, shape[1])
    vectors[:, 0] *= 3
    points, shares = principal_components(vectors)
    centred = vectors - vectors.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(shares, s[:2] ** 2 / (s**2).sum(), rtol=1e-9)
    np.testing.assert_allclose(np.abs(points), np.abs(u[:, :2] * s[:2]), atol=1e-7 * s[0])
    again, _ = principal_components(vectors)
    np.testing.assert_array_equal(points, again)


def test_vectors_that_are_all_alike_or_too_few():
    points, shares = principal_components(np.ones((4, 3)))
    assert not points.any() and not shares.any()
    with pytest.raises(ValueError, match="2 components need"):
        principal_components(np.ones((1, 3)))
