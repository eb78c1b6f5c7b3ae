"""Cosines with label words: scikit-learn, closed forms, and identities."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity

from promptscope.statistics import gold_and_other, label_cosines


def draw(seed, n=6, layers=2, d=8, words=3):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, layers, d)), generator.normal(size=(words, layers, d))


def test_cosines_are_scikit_learn_s():
    hidden, labels = draw(0)
    got = label_cosines(hidden, labels)
    for layer in range(2):
        np.testing.assert_allclose(got[:, layer], cosine_similarity(hidden[:, layer], labels[:, layer]), atol=1e-12)
        centred = labels[:, layer] - labels[:, layer].mean(axis=0)
        truth = cosine_similarity(hidden[:, layer], centred)
        np.testing.assert_allclose(label_cosines(hidden, labels, centred=True)[:, layer], truth, atol=1e-12)


def test_gold_drawn_and_mean():
    cosines = np.random.default_rng(1).uniform(-1, 1, size=(4, 2, 3))
    gold, drawn = np.array([0, 2, 1, 0]), np.array([1, 0, 2, 2])
    got = gold_and_other(cosines, gold, drawn)
    for x in range(4):
        np.testing.assert_array_equal(got[x, 0], cosines[x, :, gold[x]])
        np.testing.assert_array_equal(got[x, 1], cosines[x, :, drawn[x]])
        others = [c for c in range(3) if c != gold[x]]
        np.testing.assert_allclose(gold_and_other(cosines, gold)[x, 1], cosines[x][:, others].mean(axis=1))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.01, 100), shared=st.floats(0, 100))
def test_identities(seed, scale, shared):
    """Length says nothing; what all words share says nothing once it is taken off; two centred words are opposite."""
    hidden, labels = draw(seed)
    got = label_cosines(hidden, labels)
    assert (np.abs(got) <= 1 + 1e-12).all()
    np.testing.assert_allclose(label_cosines(hidden * scale, labels / scale), got, atol=1e-9)
    moved = labels + shared * np.ones(8)
    np.testing.assert_allclose(
        label_cosines(hidden, moved, centred=True), label_cosines(hidden, labels, centred=True), atol=1e-9
    )
    two = label_cosines(hidden, labels[:2], centred=True)
    np.testing.assert_allclose(two[..., 0], -two[..., 1], atol=1e-9)


def test_an_anisotropic_space_hides_a_difference_that_centring_shows():
    hidden, labels = draw(3, d=32)
    common = 50.0 * np.ones(32)
    hidden[:] = labels[0] + common
    gap = np.ptp(label_cosines(hidden, labels + common)[0, 0])
    assert gap < 0.01 < np.ptp(label_cosines(hidden, labels + common, centred=True)[0, 0])
