"""Shapley values against all orders, games with known values, and the axioms."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptscope.statistics import exact_shapley, sampled_shapley


def random_game(k: int, seed: int, shape: tuple[int, ...] = ()):
    table = np.random.default_rng(seed).normal(size=(2**k, *shape))
    return lambda subsets: table[subsets @ 2 ** np.arange(k)]


def by_all_orders(value, k: int) -> np.ndarray:
    orders = list(permutations(range(k)))
    gains = []
    for order in orders:
        subset, gain = np.zeros((1, k), dtype=bool), np.zeros(k)
        for token in order:
            before = value(subset)[0]
            subset[0, token] = True
            gain[token] = value(subset)[0] - before
        gains.append(gain)
    return np.mean(gains, axis=0)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 5), st.integers(0, 10_000))
def test_exact_is_the_mean_over_all_orders(k, seed):
    value = random_game(k, seed)
    result = exact_shapley(value, k)
    np.testing.assert_allclose(result.values, by_all_orders(value, k), atol=1e-12)
    assert abs(float(result.efficiency_residual)) < 1e-12
    assert result.n_evaluated == 2**k


def test_glove_game():
    """One left glove, two right ones; a pair is worth 1: 2/3, 1/6, 1/6."""
    result = exact_shapley(lambda s: (s[:, 0] & (s[:, 1] | s[:, 2])).astype(float), 3)
    np.testing.assert_allclose(result.values, [2 / 3, 1 / 6, 1 / 6])


def test_airport_game_at_full_length():
    """Littlechild & Owen 1973: a runway's cost is that of the largest plane; each section is shared by its users."""
    costs = np.arange(1.0, 13.0)
    result = exact_shapley(lambda s: np.where(s, costs, 0).max(axis=1), 12)
    np.testing.assert_allclose(result.values, np.cumsum(1 / np.arange(12, 0, -1)), atol=1e-12)
    assert (result.standard_error == 0).all()


def test_a_token_that_adds_nothing_gets_nothing():
    value = random_game(4, 3)
    result = exact_shapley(lambda s: value(s[:, :4]), 5)
    assert abs(result.values[4]) < 1e-12
    np.testing.assert_allclose(result.values[:4], exact_shapley(value, 4).values, atol=1e-12)


def test_several_models_at_once_are_each_alone():
    value = random_game(5, 4, (3,))
    for method in (exact_shapley, sampled_shapley):
        together = method(value, 5)
        assert together.values.shape == (5, 3)
        for m in range(3):
            alone = method(lambda s, m=m: value(s)[:, m], 5)
            np.testing.assert_allclose(together.values[:, m], alone.values)
            np.testing.assert_allclose(together.standard_error[:, m], alone.standard_error)


def test_sampling_errs_as_much_as_it_says():
    """Over 200 seeds, the error in units of the standard error has variance 1."""
    value = random_game(6, 5)
    truth = exact_shapley(value, 6).values
    results = [sampled_shapley(value, 6, n_pairs=40, seed=seed) for seed in range(200)]
    errors = np.array([(result.values - truth) / result.standard_error for result in results])
    assert 0.8 < errors.std() < 1.25
    assert abs(errors.mean()) < 0.1
    assert all(abs(float(result.efficiency_residual)) < 1e-12 for result in results)


def test_sampling_is_exact_for_pairwise_games():
    """With an order and its reverse, a pair of tokens shares what it gains in every sample."""
    generator = np.random.default_rng(6)
    pairs = np.triu(generator.normal(size=(20, 20)), 1)
    single = generator.normal(size=20)
    result = sampled_shapley(lambda s: s @ single + np.einsum("ni,ij,nj->n", s, pairs, s), 20, n_pairs=3)
    np.testing.assert_allclose(result.values, single + (pairs + pairs.T).sum(axis=1) / 2, atol=1e-12)
    assert result.standard_error.max() < 1e-12


def test_a_subset_is_asked_for_once():
    asked = []

    def value(subsets):
        asked.append(subsets.copy())
        return subsets.sum(axis=1).astype(float)

    result = sampled_shapley(value, 16, n_pairs=5, seed=1)
    (subsets,) = asked
    assert len(np.unique(subsets, axis=0)) == len(subsets) == result.n_evaluated < 10 * 17
    again = sampled_shapley(value, 16, n_pairs=5, seed=1)
    np.testing.assert_array_equal(asked[0], asked[1])
    np.testing.assert_array_equal(result.values, again.values)


def test_too_many_tokens_are_refused():
    with pytest.raises(ValueError, match="1 to 12 tokens, got 13: use sampled_shapley"):
        exact_shapley(lambda s: s.sum(axis=1).astype(float), 13)
    with pytest.raises(ValueError, match="at least 1"):
        sampled_shapley(lambda s: s.sum(axis=1).astype(float), 0)
    assert np.isnan(sampled_shapley(lambda s: s.sum(axis=1).astype(float), 3, n_pairs=1).standard_error).all()
