"""Attention KL against the loop-by-loop definition, SciPy, and the identities of a divergence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr, softmax

from promptscope.statistics import kl_of_received, per_query_kl, received_attention
from tests import naive_attention as naive

LENGTHS = [7, 4, 9, 3]
N = max(LENGTHS)


def padded_batch(k: int, causal: bool, seed: int = 0):
    """(prompted (B,H,k+N,k+N), plain (B,H,N,N), real (B,N), special (B,N)): first and last token special."""
    generator = np.random.default_rng(seed)
    real = np.arange(N)[None, :] < np.array(LENGTHS)[:, None]
    special = ~real
    special[:, 0] = True
    special[np.arange(len(LENGTHS)), np.array(LENGTHS) - 1] = True
    prompted = np.stack([naive.random_pattern(generator, row, k, causal) for row in real])
    plain = np.stack([naive.random_pattern(generator, row, 0, causal) for row in real])
    return prompted, plain, real, special


def queries_with_prompt(real, k):
    return np.concatenate([np.zeros((len(real), k), bool), real], axis=1)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("k", [0, 3])
def test_paper_reading_is_the_naive_loop_on_a_padded_batch(k, causal):
    prompted, plain, real, special = padded_batch(k, causal)
    received_p = received_attention(prompted, queries_with_prompt(real, k))[..., k:]
    received_m = received_attention(plain, real)
    got = kl_of_received(received_p, received_m, real & ~special)
    expected = [
        [naive.kl_paper(prompted[b, h], plain[b, h], real[b], special[b], k) for h in range(2)]
        for b in range(len(LENGTHS))
    ]
    np.testing.assert_allclose(got, expected, atol=1e-9)
    assert got[[0, 2]].min() > 1e-3  # the two patterns do differ


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("k", [0, 3])
def test_per_query_reading_is_the_naive_loop_on_a_padded_batch(k, causal):
    prompted, plain, real, special = padded_batch(k, causal)
    got = per_query_kl(prompted[:, :, k:, k:], plain, real, real & ~special)
    expected = [
        [naive.kl_per_query(prompted[b, h], plain[b, h], real[b], special[b], k, causal) for h in range(2)]
        for b in range(len(LENGTHS))
    ]
    np.testing.assert_allclose(got, expected, atol=1e-9)
    assert got[:3].min() > 1e-3


def test_received_attention_sums_to_the_number_of_real_queries():
    prompted, _, real, _ = padded_batch(k=3, causal=True)
    received = received_attention(prompted, queries_with_prompt(real, 3))
    np.testing.assert_allclose(received.sum(-1), np.array(LENGTHS)[:, None] * np.ones(2), rtol=1e-6)


def test_agrees_with_scipy_on_unpadded_rows():
    generator = np.random.default_rng(1)
    p, m = generator.normal(size=(2, 5, 4, 8))
    got = kl_of_received(p, m, np.ones((5, 8), bool))
    np.testing.assert_allclose(got, rel_entr(softmax(p, -1), softmax(m, -1)).sum(-1), atol=1e-12)


def test_exact_zeros_become_1e_20():
    # exp(-800) is exactly zero in fp64, so p = (1, 0), m = (0, 1) after the softmax.
    p, m = np.array([[800.0, 0.0]]), np.array([[0.0, 800.0]])
    got = kl_of_received(p, m, np.ones((1, 2), bool))
    np.testing.assert_allclose(got, np.log(1e20), rtol=1e-12)
    rows = np.array([[[[1.0, 0.0]]]])
    everywhere = np.ones((1, 2), bool)
    got = per_query_kl(rows, rows[..., ::-1].copy(), np.ones((1, 1), bool), everywhere)
    np.testing.assert_allclose(got, np.log(1e20), rtol=1e-12)


def test_a_query_without_text_keys_is_left_out_and_an_input_without_any_is_nan():
    plain = np.array([[[[1.0, 0.0], [0.4, 0.6]]]])
    special = np.array([[True, False]])
    # Query 0 sees only the special key 0; query 1 sees one text key, and one key alone cannot differ.
    got = per_query_kl(plain, plain, np.ones((1, 2), bool), ~special)
    assert got.tolist() == [[0.0]]
    nothing = np.zeros((1, 2), bool)
    assert np.isnan(per_query_kl(plain, plain, np.ones((1, 2), bool), nothing)).all()
    assert np.isnan(kl_of_received(plain[:, :, 1], plain[:, :, 1], nothing)).all()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.01, 30))
def test_divergence_identities(seed, scale):
    """Never negative; zero for an unchanged pattern; the same whatever the order of keys and inputs."""
    generator = np.random.default_rng(seed)
    p, m = generator.normal(size=(2, 3, 2, 6)) * scale
    keys = generator.random((3, 6)) < 0.7
    keys[:, 0] = True
    got = kl_of_received(p, m, keys)
    assert (got >= 0).all()
    np.testing.assert_array_equal(kl_of_received(p, p, keys), 0.0)
    order, rows = generator.permutation(6), generator.permutation(3)
    np.testing.assert_allclose(kl_of_received(p[..., order], m[..., order], keys[:, order]), got, atol=1e-9)
    np.testing.assert_array_equal(kl_of_received(p[rows], m[rows], keys[rows]), got[rows])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), extra=st.integers(1, 5))
def test_padding_changes_nothing(seed, extra):
    prompted, plain, real, special = padded_batch(k=2, causal=True, seed=seed)
    wide = [(0, 0), (0, 0), (0, extra), (0, extra)]
    more = [(0, 0), (0, extra)]
    grown_p, grown_m = np.pad(prompted, wide), np.pad(plain, wide)
    grown_real = np.pad(real, more)
    text, grown_text = real & ~special, np.pad(real & ~special, more)
    np.testing.assert_array_equal(
        per_query_kl(grown_p[:, :, 2:, 2:], grown_m, grown_real, grown_text),
        per_query_kl(prompted[:, :, 2:, 2:], plain, real, text),
    )
