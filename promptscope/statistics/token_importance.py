"""Which prompt token matters to which model: losses without a token, made into importances and assignments.

Axes: M models, k prompt tokens. `masked[m, i]` is the loss of model m when token i is masked, `full[m]` its loss with
the whole prompt. The masked loss is itself the paper's importance (*token splitting* (S2), section 3.1).
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from promptscope.checks import check_indices, checked
from promptscope.errors import ArgumentError


@checked()
def importance_difference(masked: Float[np.ndarray, "M k"], full: Float[np.ndarray, "M"]) -> Float[np.ndarray, "M k"]:
    """Return `masked[m, i] - full[m]`: what model m loses without token i.

    Units of the loss; higher = more important, below zero = the model does better without the token.

    >>> importance_difference(np.array([[1.5, 1.0]]), np.array([1.0])).tolist()
    [[0.5, 0.0]]
    """
    return masked.astype(np.float64) - full.astype(np.float64)[:, None]


@checked()
def importance_ratio(masked: Float[np.ndarray, "M k"], full: Float[np.ndarray, "M"]) -> Float[np.ndarray, "M k"]:
    """Return `masked[m, i] / full[m]`, the loss of model m without token i by that of the whole prompt.

    *Token splitting* (S2, section 5) proposes it for models whose losses differ.

    No unit; 1 = the token does not matter, higher = more important.

    Raises:
        ValueError: a full loss that is not positive.

    >>> importance_ratio(np.array([[0.3, 0.6], [1.1, 1.0]]), np.array([0.3, 1.0])).tolist()
    [[1.0, 2.0], [1.1, 1.0]]
    """
    if not (full > 0).all():
        raise ArgumentError(f"a ratio needs full losses above 0, got {full.tolist()}")
    return masked.astype(np.float64) / full.astype(np.float64)[:, None]


@checked()
def assign_tokens(importance: Float[np.ndarray, "M k"]) -> Int[np.ndarray, "k"]:
    """Return for each token the model (its row) to which it is most important; of equal ones the first.

    With a loss as importance, a model with a high loss anyway attracts tokens; difference and ratio correct that.

    >>> assign_tokens(np.array([[0.3, 2.1, 0.3], [1.8, 0.3, 0.3]])).tolist()
    [1, 0, 0]
    """
    return np.argmax(importance, axis=0)


@checked()
def important_token_loss(masked: Float[np.ndarray, "M k"]) -> float:
    """Return `mean_i max_m masked[m, i]`, the "important token loss" of the paper's Tables 3, 5 and 6.

    Units of the loss; higher = single tokens matter more. The text says "the important tokens", but the published
    numbers are the mean over *all* tokens, each at the model that needs it most; none is selected.

    >>> important_token_loss(np.array([[3.0, 1.0], [2.0, 2.0]]))  # (3 + 2) / 2
    2.5
    """
    return float(masked.max(axis=0).mean(dtype=np.float64))


@checked()
def important_to(ratio: Float[np.ndarray, "M k"], threshold: float = 1.1) -> Int[np.ndarray, "k"]:
    """Return to how many models each token is important: those with `ratio[m, i] > threshold`.

    0..M. If the paper's hypothesis of token splitting holds, it is 1 for every token.

    >>> important_to(np.array([[1.5, 1.0], [1.2, 1.0]])).tolist()  # two models, two tokens
    [2, 0]
    """
    return np.count_nonzero(ratio > threshold, axis=0)


@checked(n_models=1)
def tokens_of(assignment: Int[np.ndarray, "k"], n_models: int) -> Bool[np.ndarray, "M k"]:
    """Return for each model which tokens are its own; a model may have none.

    Raises:
        ValueError: a token of a model that is not there.

    >>> tokens_of(np.array([1, 0, 1]), 3).astype(int).tolist()
    [[0, 1, 0], [1, 0, 1], [0, 0, 0]]
    """
    check_indices("assignment", assignment, n_models)
    return assignment[None, :] == np.arange(n_models)[:, None]
