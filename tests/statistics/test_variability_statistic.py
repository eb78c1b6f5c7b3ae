"""Attention variability against the loop-by-loop definition and its bounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptscope.statistics import attention_variability, variability_ratio, variability_sums
from tests import naive_attention as naive


def random_blocks(generator, x, n, causal):
    everywhere = np.ones(n, bool)
    return np.stack([naive.random_pattern(generator, everywhere, causal=causal, heads=3) for _ in range(x)])


@pytest.mark.parametrize("causal", [True, False])
def test_is_the_naive_loop(causal):
    blocks = random_blocks(np.random.default_rng(0), 6, 5, causal)
    expected = [naive.variability(list(blocks[:, h]), 5, causal) for h in range(3)]
    got = attention_variability(blocks, causal)
    np.testing.assert_allclose(got, expected, atol=1e-9)
    assert got.min() > 0.05


def test_bidirectional_heads_count_both_triangles():
    blocks = random_blocks(np.random.default_rng(1), 6, 5, causal=False)
    assert np.abs(attention_variability(blocks, True) - attention_variability(blocks, False)).max() > 1e-2


def test_by_hand():
    # One free entry, a_11 = 0.2 and 0.6: mean 0.4, V = (0.2 + 0.2) / (2 * 0.8) = 1/4.
    blocks = np.array([[[1.0, 0.0], [0.8, 0.2]], [[1.0, 0.0], [0.4, 0.6]]])
    np.testing.assert_allclose(attention_variability(blocks), 0.25)


def test_a_head_that_depends_on_position_only_scores_zero_and_one_without_mass_too():
    tril = np.tril(np.ones((4, 4))) / np.arange(1, 5)[:, None]
    assert attention_variability(np.broadcast_to(tril, (7, 4, 4))) == 0.0
    only_first = np.zeros((7, 4, 4))
    only_first[:, :, 0] = 1.0
    assert attention_variability(only_first) == 0.0


def test_the_upper_bound_is_reached_in_the_limit():
    # Each input puts its attention of query n-1 on a key of its own: V = 1 - 1/X, the largest there is.
    x = 50
    blocks = np.zeros((x, x + 1, x + 1))
    blocks[np.arange(x), x, np.arange(1, x + 1)] = 1.0
    np.testing.assert_allclose(attention_variability(blocks), 1 - 1 / x)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), x=st.integers(2, 8), causal=st.booleans())
def test_in_unit_interval_and_blind_to_order(seed, x, causal):
    generator = np.random.default_rng(seed)
    blocks = random_blocks(generator, x, 4, causal)
    got = attention_variability(blocks, causal)
    assert ((got >= 0) & (got <= 1)).all()
    np.testing.assert_allclose(attention_variability(blocks[generator.permutation(x)], causal), got, atol=1e-12)


def test_streamed_in_parts_equals_all_at_once():
    blocks = random_blocks(np.random.default_rng(2), 11, 4, True)
    parts = np.array_split(blocks, [2, 3, 8])
    sums = [variability_sums(part, blocks.mean(axis=0, dtype=np.float64)) for part in parts]
    deviation, mass = (np.sum(column, axis=0) for column in zip(*sums, strict=True))
    np.testing.assert_allclose(variability_ratio(deviation, mass), attention_variability(blocks), atol=1e-14)


def test_where_there_is_no_mass_the_ratio_is_zero_whatever_deviates():
    assert variability_ratio(np.array([0.2]), np.array([0.0])).tolist() == [0.0]
