"""Shares of an effect: when it is clear enough to be divided by, and what the ratio and its interval are."""

import numpy as np
import pytest
from scipy import stats

from promptscope.statistics.effect_shares import (
    MIN_EFFECT,
    Effect,
    effect_of,
    effect_share,
    hypergeometric_overlap,
    smallest_count,
)


def test_an_effect_downwards_is_as_clear_as_one_upwards():
    assert Effect(mean=-0.8, low=-1.1, high=-0.5, n=64).is_clear
    assert not Effect(mean=-0.8, low=-1.7, high=0.1, n=64).is_clear
    assert Effect(mean=-MIN_EFFECT, low=-2 * MIN_EFFECT, high=-0.01, n=64).is_clear
    assert not Effect(mean=-0.9 * MIN_EFFECT, low=-MIN_EFFECT, high=-0.01, n=64).is_clear


def test_one_input_is_never_clear():
    effect = effect_of(np.array([1.0]))
    assert (effect.mean, effect.n, effect.is_clear) == (1.0, 1, False) and np.isnan([effect.low, effect.high]).all()


def test_a_share_is_a_ratio_of_means_with_its_sign_and_every_cell_has_its_own():
    effect = -np.array([1.0, 3.0, 2.0, 2.0])
    share, low, high = effect_share(np.stack([effect / 4, -effect, 0 * effect], axis=1), effect)
    np.testing.assert_allclose(share, [0.25, -1, 0], atol=1e-12)
    np.testing.assert_allclose(low, share, atol=1e-12)  # a fixed part of each input's effect has no spread
    np.testing.assert_allclose(high, share, atol=1e-12)
    share, low, high = effect_share(np.array([1.0, 0.0, 0.0, 1.0]), effect)
    assert share == -0.25 and low < share < high


def test_the_overlap_is_fishers():
    expected, p = hypergeometric_overlap(40, 10, 8, 4)
    table = [[4, 6], [4, 26]]
    assert expected == 2 and p == pytest.approx(stats.fisher_exact(table, alternative="greater").pvalue)


@pytest.mark.parametrize(("shares", "count"), [([0.8], 1), ([0.5, 0.8, 0.1], 2), ([0.79], None)])
def test_the_first_count_that_reaches_it(shares, count):
    assert smallest_count(np.array(shares), 0.8) == count
