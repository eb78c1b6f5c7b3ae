"""How many directions a set of vectors really uses."""

import numpy as np
from jaxtyping import Float

from promptscope.checks import checked


@checked()
def effective_rank(x: Float[np.ndarray, "N d"], centre: bool = False) -> float:
    """Return `exp(-sum_i p_i ln p_i)` with `p_i = s_i / sum s`, s the singular values of *x*.

    *centre* takes the mean vector away first, so that a shared offset is not counted as a direction.

    Returns:
        In [1, min(N, d)]: 1 = all on one line through the origin, min(N, d) = every direction as much as any other;
        NaN for vectors that are all zero (all equal, if centred).

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
