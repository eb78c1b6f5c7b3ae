"""Importance, subsets, similarities and transfer against naive loops and SciPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist, cosine

from promptscope.statistics import (
    assign_tokens,
    compress,
    concentration_test,
    importance_concentration,
    importance_difference,
    importance_ratio,
    important_to,
    important_token_loss,
    mask_tokens,
    mix_tokens,
    prompt_similarities,
    random_choice,
    tokens_of,
    transfer_summary,
)

losses = arrays(np.float64, (3, 5), elements=st.floats(0.125, 10))


@given(losses, arrays(np.float64, 3, elements=st.floats(0.125, 10)))
def test_importance_is_what_the_loop_says(masked, full):
    for m in range(3):
        for i in range(5):
            assert importance_difference(masked, full)[m, i] == masked[m, i] - full[m]
            assert importance_ratio(masked, full)[m, i] == masked[m, i] / full[m]
    best = assign_tokens(masked)
    for i in range(5):
        assert all(masked[best[i], i] >= masked[m, i] for m in range(3))
        assert all(masked[best[i], i] > masked[m, i] for m in range(best[i]))
    assert important_token_loss(masked) == pytest.approx(sum(masked[best[i], i] for i in range(5)) / 5)


@given(losses)
def test_every_token_belongs_to_one_model(masked):
    own = tokens_of(assign_tokens(masked), 3)
    assert own.sum(axis=0).tolist() == [1] * 5


def test_a_model_with_a_high_loss_attracts_tokens_by_loss_and_not_by_ratio():
    """The flaw that section 5 of the paper describes, with its numbers for token 9 of Table 11."""
    masked, full = np.array([[0.348], [0.312], [0.300], [0.299], [0.327]]), np.array([0.35, 0.31, 0.299, 0.297, 0.297])
    assert assign_tokens(masked).tolist() == [0]
    assert assign_tokens(importance_ratio(masked, full)).tolist() == [4]
    assert assign_tokens(importance_difference(masked, full)).tolist() == [4]
    assert important_to(importance_ratio(masked, full)).tolist() == [1]


def test_a_ratio_needs_a_loss_above_zero():
    with pytest.raises(ValueError, match="losses in full, which must be above 0"):
        importance_ratio(np.ones((2, 3)), np.array([1.0, 0.0]))


@given(st.integers(1, 20), st.integers(0, 100), st.data())
def test_masking_and_compressing_keep_the_same_tokens(k, seed, data):
    kept = random_choice(k, data.draw(st.integers(0, k)), seed)
    prompt = np.random.default_rng(seed).normal(size=(k, 3)) + 10
    masked, short = mask_tokens(prompt, kept), compress(prompt, kept)
    np.testing.assert_array_equal(masked[masked.any(axis=1)], short)
    np.testing.assert_array_equal(masked[kept], prompt[kept])
    assert not masked[~kept].any()


def test_random_choice_is_fair_and_seeded():
    drawn = np.array([random_choice(16, 2, seed) for seed in range(2000)])
    assert (drawn.sum(axis=1) == 2).all()
    assert abs(drawn.mean(axis=0) - 2 / 16).max() < 0.03
    np.testing.assert_array_equal(random_choice(16, 2, 7), drawn[7])
    with pytest.raises(ValueError, match=r"n_kept must be in 0\.\.16, got 17"):
        random_choice(16, 17, 0)


@given(st.integers(0, 1000))
def test_similarities_are_scipys(seed):
    generator = np.random.default_rng(seed)
    p, q = generator.normal(size=(2, 4, 6))
    result = prompt_similarities(p, q)
    assert result.average_cosine == pytest.approx(1 - cosine(p.mean(0), q.mean(0)), abs=1e-5)
    assert result.average_distance == pytest.approx(np.linalg.norm(p.mean(0) - q.mean(0)), abs=1e-5)
    assert result.pairwise_cosine == pytest.approx(np.mean([1 - cosine(a, b) for a, b in zip(p, q, strict=True)]))
    assert result.pairwise_distance == pytest.approx(np.mean(np.diag(cdist(p, q))))
    assert result.per_token_cosine == pytest.approx(np.mean(1 - cdist(p, q, "cosine")))
    assert result.per_token_distance == pytest.approx(np.mean(cdist(p, q)))


@given(st.integers(0, 1000))
def test_only_pairwise_similarity_sees_the_order(seed):
    generator = np.random.default_rng(seed)
    p = generator.normal(size=(5, 6))
    itself, shuffled = prompt_similarities(p, p), prompt_similarities(p, np.roll(p, 1, axis=0))
    assert itself.pairwise_cosine == pytest.approx(1)
    assert itself.pairwise_distance == pytest.approx(0, abs=1e-12)
    assert shuffled.pairwise_distance > 0.1
    assert shuffled.per_token_cosine == pytest.approx(itself.per_token_cosine)
    assert shuffled.average_distance == pytest.approx(0, abs=1e-12)


def test_transfer_is_what_the_loop_says():
    generator = np.random.default_rng(0)
    trained, initial = generator.uniform(0, 1, (4, 6)), generator.uniform(5, 9, (4, 6))
    trained_on = generator.random((4, 6)) < 0.5
    trained_on[3] = True
    result = transfer_summary(trained, initial, trained_on)
    for p in range(3):
        own, other = np.flatnonzero(trained_on[p]), np.flatnonzero(~trained_on[p])
        assert result.own_loss[p] == pytest.approx(trained[p, own].mean())
        assert result.other_loss[p] == pytest.approx(trained[p, other].mean())
        assert result.own_gain[p] == pytest.approx((initial - trained)[p, own].mean())
        assert result.other_gain[p] == pytest.approx((initial - trained)[p, other].mean())
        assert result.transferred[p] == pytest.approx(result.other_gain[p] / result.own_gain[p])
    assert np.isnan([result.other_loss[3], result.other_gain[3], result.transferred[3]]).all()


def test_nothing_gained_is_no_share():
    worse = transfer_summary(np.array([[2.0, 1.0]]), np.array([[1.0, 2.0]]), np.array([[True, False]]))
    assert worse.own_gain.tolist() == [-1.0]
    assert np.isnan(worse.transferred).all()


@given(arrays(np.float64, (3, 5), elements=st.floats(-1, 10)))
def test_concentration_is_what_the_loop_says(difference):
    main = whole = 0.0
    for i in range(5):
        gains = [max(difference[m, i], 0.0) for m in range(3)]
        main, whole = main + max(gains), whole + sum(gains)
    found = float(importance_concentration(difference))
    assert np.isnan(found) if whole == 0 else found == pytest.approx(main / whole)
    if whole:
        assert 1 / 3 - 1e-12 <= found <= 1 + 1e-12


def test_sparse_importance_alone_is_no_splitting():
    """Models that need few tokens, drawn independently, are concentrated, and no more than the null says."""
    generator = np.random.default_rng(0)
    p_values = []
    for trial in range(60):
        sparse = np.where(generator.random((3, 4, 16)) < 0.15, generator.exponential(size=(3, 4, 16)), 0.0)
        result = concentration_test(sparse, n_permutations=99, seed=trial)
        p_values.append(result.p_value)
    assert 0.35 < np.mean(p_values) < 0.65
    assert np.mean(np.array(p_values) <= 0.1) < 0.25


def test_tokens_that_models_share_are_less_concentrated_than_chance():
    shared = np.tile(np.arange(8.0), (2, 3, 1))
    result = concentration_test(shared, n_permutations=200)
    assert result.observed == pytest.approx(1 / 3)
    assert result.null_mean > 0.4
    assert result.p_value == 1


def test_no_importance_is_no_concentration():
    nothing = concentration_test(-np.ones((2, 3, 4)))
    assert np.isnan([nothing.observed, nothing.null_mean, nothing.p_value]).all()
    one_left = concentration_test(np.stack([-np.ones((2, 4)), np.eye(2, 4)]))
    assert one_left.observed == 1


def test_mixing_takes_what_is_named_and_no_more():
    generator = np.random.default_rng(1)
    prompt, other = generator.normal(size=(2, 6, 3))
    taken = random_choice(6, 2, 0)
    mixed = mix_tokens(prompt, other, taken)
    np.testing.assert_array_equal(mixed[taken], other[taken])
    np.testing.assert_array_equal(mixed[~taken], prompt[~taken])
    np.testing.assert_array_equal(mix_tokens(other, prompt, ~taken), mixed)
