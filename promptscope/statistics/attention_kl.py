"""How far a prompt changes a head's attention: the KL divergence of eq. 4, in two readings.

Axes: B inputs, H heads, T queries, S keys. All results are in nats and >= 0; 0 = no change.
"""

import numpy as np
from jaxtyping import Bool, Float

from promptscope.checks import check_not_negative, checked

ZERO = 1e-20
"""Replaces an exact zero before the logarithm, as in the paper."""


@checked()
def received_attention(
    pattern: Float[np.ndarray, "B H T S"], queries: Bool[np.ndarray, "B T"]
) -> Float[np.ndarray, "B H S"]:
    """Return the attention that each key receives, `r_j = sum over the marked queries i of a_ij`.

    *pattern* (B, H, T, S) holds a_ij. *queries* (B, T) is True on real tokens, False on prompt positions and padding.
    The sum of r_j over all keys is the number of marked queries.

    >>> pattern = np.array([[[[1.0, 0.0], [0.25, 0.75]]]])
    >>> received_attention(pattern, np.array([[True, True]])).tolist()
    [[[1.25, 0.75]]]
    """
    check_not_negative("pattern", pattern)
    return np.einsum("bhts,bt->bhs", pattern.astype(np.float64), queries.astype(np.float64))


@checked()
def kl_of_received(
    prompted: Float[np.ndarray, "B *heads n"],
    plain: Float[np.ndarray, "B *heads n"],
    keys: Bool[np.ndarray, "B n"],
) -> Float[np.ndarray, "B *heads"]:
    """Return `KL(P||M) = sum_j p_j log(p_j / m_j)` of the received attention, the paper's reading of eq. 4.

    `p = softmax(prompted)` and `m = softmax(plain)`, each over the marked *keys* of an input (neither special tokens
    nor padding); an exact zero becomes 1e-20. As the paper says, the softmax is over *sums* of attention, so that the
    same shares of attention weigh more in a longer input.

    Returns:
        Nats, >= 0; higher = attention changes more; NaN for an input without a marked key.

    Reference: *Toward the explainable soft prompts*, eq. 4 and the paragraph after it.

    >>> r = np.log(np.array([[3.0, 1.0, 9.0]]))  # softmax over the first two keys: 3/4, 1/4
    >>> kl = kl_of_received(r, np.zeros((1, 3)), np.array([[True, True, False]]))
    >>> bool(np.isclose(kl[0], 0.75 * np.log(1.5) + 0.25 * np.log(0.5)))
    True
    """
    marked = np.broadcast_to(_align(keys, prompted.ndim), prompted.shape)
    p, m = _no_zeros(_softmax(prompted, marked)), _no_zeros(_softmax(plain, marked))
    divergence = np.where(marked, p * np.log(p / m), 0.0).sum(axis=-1)
    # Rounding alone can take a divergence of zero below zero.
    return np.where(marked.any(axis=-1), np.maximum(divergence, 0.0), np.nan)


@checked()
def per_query_kl(
    prompted: Float[np.ndarray, "B H T S"],
    plain: Float[np.ndarray, "B H T S"],
    queries: Bool[np.ndarray, "B T"],
    keys: Bool[np.ndarray, "B S"],
) -> Float[np.ndarray, "B H"]:
    """Return the mean over queries of the KL divergence between a query's two rows of attention.

    For each marked query i, both rows are restricted to the marked *keys* (text tokens that both passes have; in a
    causal model those with j <= i have attention above 0) and renormalised: `KL_i = sum_j p_ij log(p_ij / m_ij)`. A
    query without attention to such keys in one of the passes (in a causal model the first token, which attends only to
    itself) is left out of the mean. An exact zero becomes 1e-20.

    Unlike the paper's reading, it does not grow with the length of the input, and it finds changes that cancel in the
    sum over queries.

    Returns:
        Nats, >= 0; higher = attention changes more; NaN for an input whose queries are all left out.

    >>> a = np.array([[[[1.0, 0.0], [0.5, 0.5]]]])
    >>> b = np.array([[[[1.0, 0.0], [0.9, 0.1]]]])
    >>> both = np.array([[True, True]])
    >>> kl = per_query_kl(a, b, both, both)
    >>> bool(np.isclose(kl[0, 0], (0 + 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)) / 2))
    True
    """
    check_not_negative("prompted", prompted)
    check_not_negative("plain", plain)
    shared = keys[:, None, None, :]
    p, m = (np.where(shared, rows, 0.0).astype(np.float64) for rows in (prompted, plain))
    mass_p, mass_m = p.sum(axis=-1), m.sum(axis=-1)
    defined = queries[:, None, :] & (mass_p > 0) & (mass_m > 0)
    p = _no_zeros(p / np.where(mass_p > 0, mass_p, 1.0)[..., None])
    m = _no_zeros(m / np.where(mass_m > 0, mass_m, 1.0)[..., None])
    divergence = np.maximum(np.where(shared, p * np.log(p / m), 0.0).sum(axis=-1), 0.0)
    n = defined.sum(axis=-1)
    return np.where(n > 0, (divergence * defined).sum(axis=-1) / np.maximum(n, 1), np.nan)


def _align(keys: Bool[np.ndarray, "B n"], ndim: int) -> np.ndarray:
    return keys.reshape(len(keys), *(1,) * (ndim - 2), keys.shape[-1])


def _no_zeros(probabilities: np.ndarray) -> np.ndarray:
    return np.where(probabilities == 0, ZERO, probabilities)


def _softmax(values: np.ndarray, marked: np.ndarray) -> np.ndarray:
    """Softmax over the marked entries of the last axis; zeros where nothing is marked."""
    values = np.where(marked, values.astype(np.float64), -np.inf)
    top = values.max(axis=-1, keepdims=True, initial=np.finfo(np.float64).min)
    weights = np.exp(values - top)
    total = weights.sum(axis=-1, keepdims=True)
    return weights / np.where(total > 0, total, 1.0)
