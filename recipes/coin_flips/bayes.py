"""What is known about coin flips without any network: predictors and how far they are from the best one."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def laplace(heads: Float[np.ndarray, ...], flips: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
    """Return P(next flip is heads) for a coin whose bias is uniform on [0, 1]: `(heads + 1) / (flips + 2)`.

    The best predictor on the sequences that the network is trained on; with a prompt of h heads in k flips it says
    `(heads + h + 1) / (flips + k + 2)`.

    >>> laplace(np.array([2.0]), np.array([3.0]))
    array([0.6])
    """
    return (heads + 1) / (flips + 2)


def posterior(
    biases: Float[np.ndarray, c], heads: Float[np.ndarray, X], flips: Float[np.ndarray, X]
) -> Float[np.ndarray, X]:
    """Return P(next flip is heads) for a coin that is one of several, all equally likely: the best prompted predictor.

    `sum_c w_c theta_c`, `w_c` proportional to `theta_c^heads (1 - theta_c)^(flips - heads)`. One coin: its bias.

    >>> posterior(np.array([0.2, 0.8]), np.array([1.0, 2.0]), np.array([2.0, 2.0])).round(3)
    array([0.5  , 0.765])
    """
    log_weight = heads[:, None] * np.log(biases) + (flips - heads)[:, None] * np.log1p(-biases)
    weight = np.exp(log_weight - log_weight.max(1, keepdims=True))
    return (weight / weight.sum(1, keepdims=True)) @ biases


def divergence(best: Float[np.ndarray, X], said: Float[np.ndarray, X]) -> Float[np.ndarray, X]:
    """Return KL(best | said) of two coins in nats: what a predictor loses to the best one on the next flip.

    >>> divergence(np.array([0.5]), np.array([0.5]))
    array([0.])
    """
    return best * np.log(best / said) + (1 - best) * np.log((1 - best) / (1 - said))


def best_flips(
    biases: Float[np.ndarray, c], heads: Float[np.ndarray, X], flips: Float[np.ndarray, X], length: int
) -> tuple[int, float]:
    """Return how many heads the best prompt of *length* flips has for the predictor that `laplace` is, and its KL.

    This is the most that a prompt of tokens can do: it shifts the prior, but cannot give it two peaks.

    >>> best_flips(np.array([0.8]), np.array([0.0]), np.array([0.0]), 3)[0]
    3
    """
    best = posterior(biases, heads, flips)
    losses = [
        float(divergence(best, laplace(heads + h, flips + length)).mean()) for h in range(length + 1)
    ]  # the order of flips does not matter
    return int(np.argmin(losses)), min(losses)
