"""Alignment against enumeration of all permutations, sampling and SciPy."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from promptscope.statistics import agreement_null, alignment_test, mcnemar_test

labels = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6)


def by_enumeration(assignment: np.ndarray, vote: np.ndarray) -> np.ndarray:
    hits = [int((np.array(order) == vote).sum()) for order in permutations(assignment)]
    return np.bincount(hits, minlength=len(vote) + 1) / len(hits)


@settings(max_examples=30, deadline=None)
@given(labels)
def test_null_of_one_prompt_is_that_of_all_permutations(pairs):
    assignment, vote = np.array(pairs).T
    expected = by_enumeration(assignment, vote)
    np.testing.assert_allclose(agreement_null(assignment[None], vote[None]), expected, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(labels, labels)
def test_null_of_two_prompts_is_the_convolution(first, second):
    k = min(len(first), len(second))
    pairs = np.array([first[:k], second[:k]]).transpose(2, 0, 1)
    expected = np.convolve(*(by_enumeration(a, v) for a, v in zip(*pairs, strict=True)))
    np.testing.assert_allclose(agreement_null(*pairs), expected, atol=1e-12)


def test_p_value_agrees_with_sampled_permutations():
    generator = np.random.default_rng(0)
    assignment = generator.choice(5, size=(4, 16), p=[0.4, 0.3, 0.1, 0.1, 0.1])
    vote = np.where(generator.random((4, 16)) < 0.2, assignment, generator.integers(0, 5, (4, 16)))
    result = alignment_test(assignment, vote, 5)
    shuffled = np.array([(generator.permuted(assignment, axis=1) == vote).mean() for _ in range(20_000)])
    assert 0.001 < result.p_value < 0.5
    assert abs(result.p_value - (shuffled >= result.observed - 1e-9).mean()) < 0.01
    assert abs(result.null_mean - shuffled.mean()) < 0.002


@settings(max_examples=30, deadline=None)
@given(labels)
def test_names_of_models_do_not_matter(pairs):
    assignment, vote = np.array(pairs).T
    renamed = np.array([7, 3, 24, 11])
    np.testing.assert_allclose(
        agreement_null(assignment[None], vote[None]), agreement_null(renamed[assignment][None], renamed[vote][None])
    )
    result = alignment_test(assignment[None], vote[None], 4)
    assert 0 < result.p_value <= 1
    assert result.observed == (assignment == vote).mean()


def test_one_model_for_all_tokens_is_no_alignment():
    """All agree, and would under every shuffling: the binomial test against 1/M is fooled, the exact one is not."""
    same = np.zeros((3, 16), dtype=np.int64)
    result = alignment_test(same, same, 2)
    assert result.observed == result.null_mean == result.p_value == 1
    assert result.binomial_p < 1e-10
    assert np.isnan(result.kappa)


def test_perfect_alignment_has_kappa_one():
    assignment = np.tile(np.repeat(np.arange(4), 4), (2, 1))
    result = alignment_test(assignment, assignment, 4)
    assert result.kappa == 1
    assert result.p_value == pytest.approx((24**4 / 20922789888000) ** 2)  # of 16! orders, 4!^4 keep all in place


def test_binomial_is_scipys():
    assignment, vote = np.array([[0, 1, 1, 0, 1]]), np.array([[0, 1, 1, 1, 0]])
    expected = stats.binomtest(3, 5, 0.5, alternative="greater").pvalue
    assert alignment_test(assignment, vote, 2).binomial_p == pytest.approx(expected)


def test_mcnemar_is_a_binomial_test_of_the_changes():
    before = np.repeat([True, True, False, False], [10, 8, 30, 32])
    after = np.repeat([True, False, True, False], [10, 8, 30, 32])
    gained, lost, p = mcnemar_test(before, after)
    assert (gained, lost) == (30, 8)
    assert p == pytest.approx(2 * stats.binom.cdf(8, 38, 0.5))
    assert mcnemar_test(after, before)[:2] == (8, 30)
    assert mcnemar_test(before, before) == (0, 0, 1.0)
