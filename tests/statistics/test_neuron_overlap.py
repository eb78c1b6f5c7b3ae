"""ON scores: closed forms, the loop, and identities."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from promptscope.statistics import neuron_overlap, neuron_overlap_matrix


def random_states(seed, binary=False, tasks=4, positions=3, neurons=20):
    generator = np.random.default_rng(seed)
    states = generator.normal(size=(tasks, positions, neurons))
    states[..., 0] = 1.0  # some neuron is active everywhere
    return states > 0 if binary else states


def test_sets_of_neurons_by_hand():
    a, b = np.zeros((1, 10), bool), np.zeros((1, 10), bool)
    a[0, :4], b[0, 2:9] = True, True  # 4 and 7 active, 2 of them in both
    assert np.isclose(neuron_overlap(a, b), 2 / np.sqrt(4 * 7))
    assert neuron_overlap(a, ~a) == 0


def test_positions_are_averaged_and_the_size_of_a_state_does_not_count():
    a, b = random_states(0)[:2]
    each = [neuron_overlap(a[p : p + 1], b[p : p + 1]) for p in range(3)]
    np.testing.assert_allclose(neuron_overlap(a, b), np.mean(each))
    scaled = b * np.array([1.0, 100.0, 0.01])[:, None]
    np.testing.assert_allclose(neuron_overlap(a, scaled), neuron_overlap(a, b))


def test_the_matrix_is_every_pair():
    states = random_states(1)
    truth = [[neuron_overlap(a, b) for b in states] for a in states]
    np.testing.assert_allclose(neuron_overlap_matrix(states), truth, atol=1e-12)
    np.testing.assert_allclose(neuron_overlap(states[:2], states[2:]), [truth[0][2], truth[1][3]])  # batched


def test_a_state_without_active_neurons_has_no_score():
    states = random_states(2, binary=True)
    states[1] = False
    scores = neuron_overlap_matrix(states)
    assert np.isnan(scores[1]).all() and np.isfinite(scores[0, 2])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), binary=st.booleans())
def test_symmetric_with_unit_diagonal(seed, binary):
    states = random_states(seed, binary)
    scores = neuron_overlap_matrix(states)
    np.testing.assert_allclose(scores, scores.T, atol=1e-12)
    np.testing.assert_allclose(np.diag(scores), 1.0, atol=1e-12)
    assert (np.abs(scores) <= 1 + 1e-12).all() and (not binary or (scores >= 0).all())
    generator = np.random.default_rng(seed)
    neurons, tasks = generator.permutation(20), generator.permutation(4)
    np.testing.assert_allclose(neuron_overlap_matrix(states[:, :, neurons]), scores, atol=1e-12)
    np.testing.assert_allclose(neuron_overlap_matrix(states[tasks]), scores[tasks][:, tasks], atol=1e-12)
