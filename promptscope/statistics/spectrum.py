"""How many directions a set of vectors uses."""

import numpy as np
from jaxtyping import Float

from promptscope.checks import checked


@checked()
def effective_rank(x: Float[np.ndarray, "N d"], centre: bool = False) -> float:
    """Return the effective rank of vectors *x* (N, d): `exp(-sum_i p_i ln p_i)` with `p_i = s_i / sum_j s_j`.

    s are the singular values of *x*. With *centre*, the mean vector is subtracted first, so that a shared offset does
    not count as a direction.

    Returns:
        In [1, min(N, d)]: 1 = all vectors on one line through the origin, min(N, d) = all directions are used equally;
        NaN if all vectors are zero (with *centre*: equal).

    Reference: Roy & Vetterli 2007, *The effective rank*.

    >>> round(effective_rank(np.eye(3)), 6), round(effective_rank(np.outer([1.0, 2.0, -1.0], [3.0, 4.0])), 6)
    (3.0, 1.0)
    """
    values = x.astype(np.float64)
    if centre:
        values = values - values.mean(axis=0)
    singular = np.linalg.svd(values, compute_uv=False)
    if singular.sum() <= 1e-12 * max(1.0, float(np.abs(x).max())):
        return float("nan")
    shares = singular[singular > 0] / singular.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
