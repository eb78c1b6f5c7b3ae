"""Shapley values of prompt tokens: the contribution of each, averaged over all orders in which tokens can be added.

A value function takes n subsets as rows of a boolean matrix (n, k), and returns one value for each, (n, ...): a score,
or minus a loss, of the prompt with only these tokens, for one model or several.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import comb

import numpy as np
from jaxtyping import Bool, Float

from promptscope.checks import checked
from promptscope.errors import ArgumentError

ValueFunction = Callable[[Bool[np.ndarray, "n k"]], Float[np.ndarray, "n *shape"]]

MAX_EXACT = 12
"""The largest number of tokens whose Shapley values are computed exactly, from 4,096 subsets."""


@dataclass(frozen=True)
class ShapleyValues:
    """Contributions of k tokens, in the units of the value function; higher = the token adds more.

    >>> found = exact_shapley(lambda kept: kept @ np.array([1.0, 3.0]), k=2)
    >>> found.values.tolist(), found.n_evaluated
    ([1.0, 3.0], 4)
    """

    values: Float[np.ndarray, "k *shape"]
    standard_error: Float[np.ndarray, "k *shape"]
    """Standard error of sampling orders: 0 if all subsets were evaluated, NaN for a single pair."""
    efficiency_residual: Float[np.ndarray, "*shape"]
    """`sum_i values_i - (v(all) - v(none))`: 0 up to rounding."""
    n_evaluated: int
    """Number of subsets that the value function was called with."""


@checked(k=1)
def exact_shapley(value: ValueFunction, k: int) -> ShapleyValues:
    """Return the Shapley values of *k* <= 12 tokens from all 2^k subsets, which are evaluated in one call.

    `phi_i = sum over S without i of |S|! (k - |S| - 1)! / k! * (v(S + i) - v(S))`, for the value function v.

    Raises:
        ArgumentError: k is above 12 (use `sampled_shapley`), or the value function does not return a finite value for
            each subset.

    Reference: Shapley 1953; Lundberg & Lee 2017.

    >>> weights = np.array([1.0, 2.0, 4.0])
    >>> exact_shapley(lambda subsets: subsets @ weights, 3).values.round(9).tolist()
    [1.0, 2.0, 4.0]
    """
    if not 1 <= k <= MAX_EXACT:
        raise ArgumentError(f"exact Shapley values need 1 to {MAX_EXACT} tokens, got {k}: use sampled_shapley")
    codes = np.arange(2**k)
    subsets = (codes[:, None] >> np.arange(k)) % 2 == 1
    v = _values(value, subsets)
    sizes = subsets.sum(axis=1)
    weights = np.array([1 / (k * comb(k - 1, size)) for size in range(k)])
    values = np.empty((k, *v.shape[1:]))
    for i in range(k):
        without = codes[~subsets[:, i]]
        gains = v[without + 2**i] - v[without]
        values[i] = np.tensordot(weights[sizes[without]], gains, axes=1)
    return ShapleyValues(values, np.zeros_like(values), _residual(values, v[[0, -1]]), len(subsets))


@checked(k=1, n_pairs=1, seed=0)
def sampled_shapley(value: ValueFunction, k: int, n_pairs: int = 100, seed: int = 0) -> ShapleyValues:
    """Estimate the Shapley values of *k* tokens from *n_pairs* random orders and their reverses.

    Each order adds the tokens one by one; a sample for a token is the value it adds, averaged over the order and its
    reverse. The estimate is the mean over pairs, its standard error their standard deviation (ddof 1) divided by
    `sqrt(n_pairs)`. The value function is called once, with every subset that occurs, once each.

    Raises:
        ArgumentError: fewer than one token or pair, or the value function does not return a finite value for each
            subset.

    Reference: Castro et al. 2009; Mitchell et al. 2022 (the reverses).

    >>> worth = np.array([3.0, 1.0])  # the tokens' worth adds up: each one's value is its own
    >>> sampled_shapley(lambda kept: kept @ worth, k=2, n_pairs=4).values.tolist()
    [3.0, 1.0]
    """
    if k < 1 or n_pairs < 1:
        raise ArgumentError(f"k and n_pairs must be at least 1, got {k} tokens and {n_pairs} pairs of orders")
    generator = np.random.default_rng(seed)
    orders = generator.permuted(np.tile(np.arange(k), (n_pairs, 1)), axis=1)
    orders = np.stack([orders, orders[:, ::-1]], axis=1).reshape(-1, k)  # (2 n_pairs, k)
    place = np.argsort(orders, axis=1)
    chains = place[:, None, :] < np.arange(k + 1)[None, :, None]  # (order, how many are in, token)
    subsets, where = np.unique(chains.reshape(-1, k), axis=0, return_inverse=True)
    v = _values(value, subsets)
    steps = np.diff(v[where.reshape(-1, k + 1)], axis=1)  # (order, place, ...)
    gains = steps[np.arange(len(orders))[:, None], place]  # (order, token, ...)
    pairs = gains.reshape(n_pairs, 2, *gains.shape[1:]).mean(axis=1)
    values = pairs.mean(axis=0)
    error = pairs.std(axis=0, ddof=1) / np.sqrt(n_pairs) if n_pairs > 1 else np.full_like(values, np.nan)
    ends = v[where.ravel()[[0, k]]]  # of the first order: no token, all tokens
    return ShapleyValues(values, error, _residual(values, ends), len(subsets))


def _values(value: ValueFunction, subsets: Bool[np.ndarray, "n k"]) -> Float[np.ndarray, "n *shape"]:
    v = np.asarray(value(subsets), dtype=np.float64)
    if v.shape[:1] != (len(subsets),) or not np.isfinite(v).all():
        raise ArgumentError(
            f"the value function must return a finite value for each of {len(subsets)} subsets, and "
            f"returned an array of shape {v.shape} with {np.count_nonzero(~np.isfinite(v))} NaN or "
            "infinite"
        )
    return v


def _residual(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    return np.asarray(values.sum(axis=0) - (ends[1] - ends[0]))
