"""Prompts of which only some tokens are kept: masked, compressed, and chosen at random as a baseline.

A prompt has k tokens of width d; `kept[i]` is True if token i is kept.
"""

import numpy as np
from jaxtyping import Bool, Float

from promptscope.checks import checked
from promptscope.errors import ArgumentError


@checked()
def mask_tokens(prompt: Float[np.ndarray, "k d"], kept: Bool[np.ndarray, "k"]) -> Float[np.ndarray, "k d"]:
    """Return the prompt with zero vectors in place of the tokens that are not kept.

    In BERT such a position is not empty: position and token-type embeddings are added to the zeros, and the layer norm
    follows.

    >>> mask_tokens(np.ones((3, 2)), np.array([True, False, True])).tolist()
    [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]
    """
    return np.where(kept[:, None], prompt, np.zeros((), dtype=prompt.dtype))


@checked()
def compress(prompt: Float[np.ndarray, "k d"], kept: Bool[np.ndarray, "k"]) -> Float[np.ndarray, "n d"]:
    """Return the kept tokens alone, in order; an empty prompt (0, d) if none is kept.

    >>> compress(np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]), np.array([True, False, True])).tolist()
    [[1.0, 1.0], [3.0, 3.0]]
    """
    return prompt[kept]


@checked(k=1, n_kept=0, seed=0)
def random_choice(k: int, n_kept: int, seed: int) -> Bool[np.ndarray, "k"]:
    """Return a mask of *n_kept* of *k* tokens drawn at random, the baseline for a choice by importance.

    Use another *seed* for every prompt and model. The paper's code resets the seed before each draw, so that its 150
    evaluations of random masking share three draws.

    Raises:
        ArgumentError: *n_kept* is not in 0..k.

    >>> int(random_choice(16, 2, seed=0).sum())
    2
    """
    if not 0 <= n_kept <= k:
        raise ArgumentError(f"n_kept must be in 0..{k}, got {n_kept}")
    kept = np.zeros(k, dtype=bool)
    kept[np.random.default_rng(seed).permutation(k)[:n_kept]] = True
    return kept


@checked()
def mix_tokens(
    prompt: Float[np.ndarray, "k d"], other: Float[np.ndarray, "k d"], taken: Bool[np.ndarray, "k"]
) -> Float[np.ndarray, "k d"]:
    """Return the prompt with the *taken* tokens replaced by the tokens of *other* at the same positions.

    For tokens that belong to one model in both prompts, the mixture tests whether a prompt can carry what another
    learnt for that model (proposed as future work in Reimann & Sadrieh 2024).

    >>> mix_tokens(np.zeros((3, 1)), np.ones((3, 1)), np.array([False, True, False])).ravel().tolist()
    [0.0, 1.0, 0.0]
    """
    return np.where(taken[:, None], other, prompt)
