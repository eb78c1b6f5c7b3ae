"""Which prompt token matters to which model: importances and assignments from losses without a token.

Axes: M models, k prompt tokens. `masked[m, i]` is the loss of model m when token i is masked, `full[m]` its loss with
the whole prompt. The masked loss itself is the paper's importance (Reimann & Sadrieh 2024, section 3.1).
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from promptscope.checks import check_indices, checked
from promptscope.errors import ArgumentError


@checked()
def importance_difference(masked: Float[np.ndarray, "M k"], full: Float[np.ndarray, "M"]) -> Float[np.ndarray, "M k"]:
    """Return `masked[m, i] - full[m]`: by how much the loss of model m rises without token i.

    In units of the loss; higher = more important; below 0 = the model is better without the token.

    >>> importance_difference(np.array([[1.5, 1.0]]), np.array([1.0])).tolist()
    [[0.5, 0.0]]
    """
    return masked.astype(np.float64) - full.astype(np.float64)[:, None]


@checked()
def importance_ratio(masked: Float[np.ndarray, "M k"], full: Float[np.ndarray, "M"]) -> Float[np.ndarray, "M k"]:
    """Return `masked[m, i] / full[m]`: the loss of model m without token i, divided by that with the whole prompt.

    Reimann & Sadrieh 2024 (section 5) propose it for models whose losses differ. No unit, >= 0; 1 = the token does not
    matter, higher = more important.

    Raises:
        ArgumentError: a loss in *full* that is not above 0.

    >>> importance_ratio(np.array([[0.3, 0.6], [1.1, 1.0]]), np.array([0.3, 1.0])).tolist()
    [[1.0, 2.0], [1.1, 1.0]]
    """
    if not (full > 0).all():
        raise ArgumentError(
            f"importance_ratio divides by the losses in full, which must be above 0, got {full.tolist()}"
        )
    return masked.astype(np.float64) / full.astype(np.float64)[:, None]


@checked()
def assign_tokens(importance: Float[np.ndarray, "M k"]) -> Int[np.ndarray, "k"]:
    """Return for each token the model (row) to which it is most important; of equal ones the first.

    If importance is the loss itself, a model whose loss is generally high gets too many tokens; difference and ratio
    correct for that.

    >>> assign_tokens(np.array([[0.3, 2.1, 0.3], [1.8, 0.3, 0.3]])).tolist()
    [1, 0, 0]
    """
    return np.argmax(importance, axis=0)


@checked()
def important_token_loss(masked: Float[np.ndarray, "M k"]) -> float:
    """Return `mean_i max_m masked[m, i]`, the "important token loss" of the paper's Tables 3, 5 and 6.

    In units of the loss; higher = single tokens matter more. The paper's text says "the important tokens", but its
    numbers are the mean over *all* tokens, each with the model that needs it most.

    >>> important_token_loss(np.array([[3.0, 1.0], [2.0, 2.0]]))  # (3 + 2) / 2
    2.5
    """
    return float(masked.max(axis=0).mean(dtype=np.float64))


@checked()
def important_to(ratio: Float[np.ndarray, "M k"], threshold: float = 1.1) -> Int[np.ndarray, "k"]:
    """Return for each token the number of models to which it is important, those with `ratio[m, i] > threshold`.

    From 0 to M. If the paper's hypothesis of token splitting holds, it is 1 for every token.

    >>> important_to(np.array([[1.5, 1.0], [1.2, 1.0]])).tolist()  # two models, two tokens
    [2, 0]
    """
    return np.count_nonzero(ratio > threshold, axis=0)


@checked(n_models=1)
def tokens_of(assignment: Int[np.ndarray, "k"], n_models: int) -> Bool[np.ndarray, "M k"]:
    """Return for each model a mask of the tokens that are assigned to it, (M, k); a model may have none.

    Raises:
        ArgumentError: a token is assigned to a model that is not one of *n_models*.

    >>> tokens_of(np.array([1, 0, 1]), 3).astype(int).tolist()
    [[0, 1, 0], [1, 0, 1], [0, 0, 0]]
    """
    check_indices("assignment", assignment, n_models)
    return assignment[None, :] == np.arange(n_models)[:, None]
