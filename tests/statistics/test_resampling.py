"""Bootstrap and permutation against SciPy and closed forms."""

import numpy as np
import pytest
from scipy import stats

from promptscope.statistics import (
    GroupedMean,
    attention_variability,
    bootstrap_interval,
    jackknife_interval,
    mean_interval,
    paired_permutation_test,
    permutation_null,
    random_groups,
)


def test_mean_interval_agrees_with_scipy():
    values = np.random.default_rng(0).exponential(size=200)
    low, high = mean_interval(values, n_resamples=4000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert abs(low - theirs.low) < 0.05 * width
    assert abs(high - theirs.high) < 0.05 * width


def test_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(2)
    values = generator.normal(size=(60, 500))  # 500 experiments of 60 examples, true mean 0
    low, high = mean_interval(values)
    covered = ((low <= 0) & (high >= 0)).mean()
    assert 0.90 < covered < 0.97


def test_a_ratio_is_resampled_as_a_ratio():
    generator = np.random.default_rng(3)
    a = generator.random(100)
    b = 2 * a  # the ratio of sums is 1/2 in every resample, though both sums vary
    low, high = bootstrap_interval(lambda w: (w @ a) / (w @ b), 100)
    np.testing.assert_allclose([low, high], 0.5, atol=1e-12)
    low, high = mean_interval(a)
    assert high - low > 0.05


def test_seeded_and_blind_to_how_resamples_are_cut_into_blocks(monkeypatch):
    values = np.random.default_rng(4).normal(size=(30, 2))
    whole = mean_interval(values, n_resamples=100)
    np.testing.assert_array_equal(whole, mean_interval(values, n_resamples=100))
    assert not np.array_equal(whole, mean_interval(values, n_resamples=100, seed=1))
    monkeypatch.setattr("promptscope.statistics.bootstrap._CELLS_AT_ONCE", 70)
    np.testing.assert_allclose(mean_interval(values, n_resamples=100), whole, atol=1e-12)


def test_one_example_says_nothing_about_others():
    low, high = mean_interval(np.ones((1, 3)))
    assert np.isnan(low).all() and np.isnan(high).all()


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_paired_permutation_agrees_with_scipy(shift):
    generator = np.random.default_rng(5)
    a, b = generator.normal(size=(2, 40))
    difference, p = paired_permutation_test(a + shift, b, n_permutations=9999)
    theirs = stats.permutation_test(
        (a + shift, b),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=9999,
        vectorized=True,
        rng=np.random.default_rng(6),
    )
    np.testing.assert_allclose(difference, theirs.statistic, atol=1e-12)
    assert abs(p - theirs.pvalue) < 0.02


def test_paired_permutation_of_equal_measurements_finds_nothing():
    a = np.random.default_rng(7).normal(size=(10, 2, 3))
    difference, p = paired_permutation_test(a, a)
    assert difference.shape == p.shape == (2, 3)
    assert (difference == 0).all() and (p == 1).all()


def test_paired_permutation_counts_exhaustively_small_cases():
    # Three equal differences: |mean| is reached only by +++ and ---, so p tends to 2/8.
    _, p = paired_permutation_test(np.ones(3), np.zeros(3), n_permutations=20_000)
    assert abs(p - 0.25) < 0.01


def test_permutation_null_of_a_correlation_agrees_with_scipy():
    generator = np.random.default_rng(8)
    x = generator.normal(size=25)
    y = x * 0.4 + generator.normal(size=25)
    observed, p, null = permutation_null(lambda a, b: float(stats.pearsonr(a, b)[0]), x, y)
    assert observed == pytest.approx(stats.pearsonr(x, y)[0])
    assert abs(p - stats.pearsonr(x, y)[1]) < 0.03
    assert abs(null.mean()) < 0.05


def test_groups_are_dealt_evenly_at_random():
    groups = random_groups(103, n_groups=20)
    assert set(np.bincount(groups)) == {5, 6}
    assert not np.array_equal(groups, np.arange(103) % 20)
    assert len(np.unique(random_groups(3, n_groups=20))) == 3


def test_jackknife_of_a_mean_is_the_standard_error_of_the_mean():
    values = np.random.default_rng(9).normal(size=40)
    without = np.array([np.delete(values, i).mean() for i in range(40)])
    low, high = jackknife_interval(np.asarray(values.mean()), without)
    theirs = stats.t.interval(0.95, 39, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose([low, high], theirs, rtol=1e-10)


def test_jackknife_covers_the_variability_about_as_often_as_it_says():
    """500 heads with one free entry a ~ Exp(1): V = E|a - 1| / 2 = 1/e."""
    generator = np.random.default_rng(10)
    blocks = np.zeros((200, 500, 2, 2))
    blocks[:, :, 1, 1] = generator.exponential(size=(200, 500))
    groups = random_groups(200)
    without = np.stack([attention_variability(blocks[groups != g]) for g in range(20)])
    low, high = jackknife_interval(attention_variability(blocks), without)
    covered = ((low <= np.exp(-1)) & (high >= np.exp(-1))).mean()
    assert 0.91 < covered < 0.98


def test_jackknife_of_few_groups_is_not_known():
    low, high = jackknife_interval(np.ones(3), np.ones((4, 3)))
    assert np.isnan(low).all() and np.isnan(high).all()


def test_grouped_mean_accumulates_in_double_precision():
    values = np.full((1000, 1), 1.0 + 1e-7, dtype=np.float32)
    groups = random_groups(1000)
    mean = GroupedMean(20)
    for _ in range(50):
        mean.add(values, groups)
    assert mean.n == 50_000
    for got in (mean.of_all(), mean.without(3)):
        assert abs(float(got[0]) - float(values[0, 0])) < 1e-12


def test_grouped_mean_without_a_group_is_the_mean_of_the_others():
    generator = np.random.default_rng(11)
    values, groups = generator.normal(size=(30, 2, 3)), random_groups(30, 4)
    mean = GroupedMean(4)
    for part in np.array_split(np.arange(30), [7, 11]):
        mean.add(values[part], groups[part])
    np.testing.assert_allclose(mean.of_all(), values.mean(axis=0))
    np.testing.assert_allclose(mean.without(2), values[groups != 2].mean(axis=0))
