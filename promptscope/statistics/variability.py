"""How much a head's attention depends on the content of the input rather than on positions."""

import numpy as np
from jaxtyping import Bool, Float

from promptscope.checks import check_not_negative, checked


@checked()
def attention_variability(
    blocks: Float[np.ndarray, "X *heads N N"], causal: bool = True
) -> Float[np.ndarray, "*heads"]:
    """Return the attention variability of each head over *X* inputs.

    `V = sum_x sum_i sum_j |a_ij(x) - mean_x a_ij| / (2 sum_x sum_i sum_j a_ij(x))`

    *blocks* (X, heads, N, N) holds a_ij(x), the attention of query i to key j, among the first N tokens. Key j = 0 and
    query i = 0 are left out, because the first token receives attention whatever it is. The sum is over j <= i in a
    causal model, and over all j of the block in a bidirectional one.

    Returns:
        In [0, 1]: 0 = attention depends on positions alone, higher = more on content. A head without attention to the
        keys of the block gives 0/0, which is returned as 0.

    Reference: *Toward the explainable soft prompts*, eq. 3; Vig & Belinkov 2019.

    >>> position_only = np.broadcast_to(np.tril(np.full((3, 3), 0.25)), (5, 3, 3))
    >>> float(attention_variability(position_only))
    0.0
    """
    return variability_ratio(*variability_sums(blocks, np.asarray(blocks.mean(axis=0, dtype=np.float64)), causal))


@checked(empty=("blocks",))
def variability_sums(
    blocks: Float[np.ndarray, "X *heads N N"], mean: Float[np.ndarray, "*heads N N"], causal: bool = True
) -> tuple[Float[np.ndarray, "*heads"], Float[np.ndarray, "*heads"]]:
    """Return numerator and half the denominator of V over these inputs: summed deviation from *mean*, summed attention.

    Inputs may come in parts, as long as *mean* is the mean over all of them: add the sums of the parts, then call
    `variability_ratio`.

    >>> blocks = np.array([[[1.0, 0.0], [0.4, 0.6]], [[1.0, 0.0], [0.6, 0.4]]])  # the attention of two inputs
    >>> [round(float(part), 3) for part in variability_sums(blocks, blocks.mean(0))]
    [0.2, 1.0]
    """
    check_not_negative("blocks", blocks)
    counted = _counted(blocks.shape[-1], causal)
    kept = blocks[..., counted].astype(np.float64)
    deviation = np.abs(kept - mean[..., counted]).sum(axis=(0, -1))
    return np.asarray(deviation), np.asarray(kept.sum(axis=(0, -1)))


@checked()
def variability_ratio(
    deviation: Float[np.ndarray, "*shape"], mass: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """Return `deviation / (2 mass)`, and 0 where the mass is 0.

    >>> variability_ratio(np.array([0.2, 0.0]), np.array([1.0, 0.0])).tolist()
    [0.1, 0.0]
    """
    check_not_negative("deviation", deviation)
    check_not_negative("mass", mass)
    return np.asarray(np.where(mass > 0, deviation / np.where(mass > 0, 2 * mass, 1.0), 0.0))


def _counted(n: int, causal: bool) -> Bool[np.ndarray, "N N"]:
    counted = np.tril(np.ones((n, n), dtype=bool)) if causal else np.ones((n, n), dtype=bool)
    counted[0, :] = counted[:, 0] = False
    return counted
