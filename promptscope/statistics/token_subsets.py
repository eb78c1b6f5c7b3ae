"""Prompts of which only some tokens are left: masked, compressed, and chosen at random as a baseline.

k prompt tokens of width d; `kept[i]` says that token i is left.
"""

import numpy as np
from jaxtyping import Bool, Float

from promptscope.checks import checked
from promptscope.errors import ArgumentError


@checked()
def mask_tokens(prompt: Float[np.ndarray, "k d"], kept: Bool[np.ndarray, "k"]) -> Float[np.ndarray, "k d"]:
    """Return the prompt with zero vectors in place of the tokens that are not kept.

    In a BERT such a token is not nothing: position and token-type embedding and layer norm are still added to it.

    >>> mask_tokens(np.ones((3, 2)), np.array([True, False, True])).tolist()
    [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]
    """
    return np.where(kept[:, None], prompt, np.zeros((), dtype=prompt.dtype))


@checked()
def compress(prompt: Float[np.ndarray, "k d"], kept: Bool[np.ndarray, "k"]) -> Float[np.ndarray, "n d"]:
    """Return the kept tokens alone, in order; a model that owns no token is left with an empty prompt.

    >>> compress(np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]), np.array([True, False, True])).tolist()
    [[1.0, 1.0], [3.0, 3.0]]
    """
    return prompt[kept]


@checked(k=1, n_kept=0, seed=0)
def random_choice(k: int, n_kept: int, seed: int) -> Bool[np.ndarray, "k"]:
    """Return *n_kept* of *k* tokens, drawn at random: the baseline for a choice by importance.

    A comparison needs a fresh draw for every prompt and model. The paper's code seeds anew before each, so that its
    150 evaluations of random masking share three draws.

    Raises:
        ValueError: *n_kept* is not in 0..k.

    >>> int(random_choice(16, 2, seed=0).sum())
    2
    """
    if not 0 <= n_kept <= k:
        raise ArgumentError(f"expected to keep 0 to {k} tokens, got {n_kept}")
    kept = np.zeros(k, dtype=bool)
    kept[np.random.default_rng(seed).permutation(k)[:n_kept]] = True
    return kept


@checked()
def mix_tokens(
    prompt: Float[np.ndarray, "k d"], other: Float[np.ndarray, "k d"], taken: Bool[np.ndarray, "k"]
) -> Float[np.ndarray, "k d"]:
    """Return the prompt with the *taken* tokens replaced by those that *other* has in their places.

    With a model's own tokens of two prompts: can one prompt carry what another learnt for it? (Future work of
    *token splitting* (S2).)

    >>> mix_tokens(np.zeros((3, 1)), np.ones((3, 1)), np.array([False, True, False])).ravel().tolist()
    [0.0, 1.0, 0.0]
    """
    return np.where(taken[:, None], other, prompt)
