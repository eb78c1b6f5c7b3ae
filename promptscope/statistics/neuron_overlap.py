"""How much two tasks use the same FFN neurons: the ON score of eq. 7."""

import numpy as np
from jaxtyping import Float, Shaped

from promptscope.checks import checked


@checked()
def neuron_overlap(
    first: Shaped[np.ndarray, "*batch P F"], second: Shaped[np.ndarray, "*batch P F"]
) -> Float[np.ndarray, "*batch"]:
    """Return the ON score of two states of F neurons at P positions: the mean cosine of their activations.

    `ON = 1/P sum_p <a_p, b_p> / (|a_p| |b_p|)` for *first* a and *second* b, (..., P, F). For sets of active neurons A,
    B (booleans) the cosine is `|A n B| / sqrt(|A| |B|)`. Symmetric, and 1 for a state with itself.

    Returns:
        In [-1, 1], for states without negative numbers in [0, 1]; higher = more neurons in common. NaN if no neuron is
        active at some position.

    Reference: *Toward the explainable soft prompts*, eq. 7; Su et al. 2022, *On transferability of prompt tuning*.

    >>> a, b = np.array([[True, True, False, False]]), np.array([[True, False, True, True]])
    >>> round(float(neuron_overlap(a, b)), 6)  # 1 / sqrt(2 * 3)
    0.408248
    """
    return np.asarray(np.einsum("...pf,...pf->...", _unit(first), _unit(second)) / first.shape[-2])


@checked()
def neuron_overlap_matrix(states: Shaped[np.ndarray, "T P F"]) -> Float[np.ndarray, "T T"]:
    """Return the ON score (T, T) of every pair of T tasks, from states (T, P, F); see `neuron_overlap`.

    >>> neuron_overlap_matrix(np.array([[[1.0, 0.0]], [[1.0, 1.0]]])).round(3).tolist()
    [[1.0, 0.707], [0.707, 1.0]]
    """
    unit = _unit(states).reshape(len(states), -1)
    return np.asarray(unit @ unit.T / states.shape[1])


def _unit(states: np.ndarray) -> np.ndarray:
    states = states.astype(np.float64)
    norms = np.linalg.norm(states, axis=-1, keepdims=True)
    return states / np.where(norms > 0, norms, np.nan)
