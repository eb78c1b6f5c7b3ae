"""Is each prompt token important to one model only? How concentrated importance is, and whether more than by chance."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from promptscope.checks import checked


@dataclass(frozen=True)
class Concentration:
    """How concentrated importance is on one model per token, compared with what chance gives.

    >>> own = np.repeat(np.eye(4), 2, axis=1)[None]  # four models, two tokens each
    >>> found = concentration_test(own)
    >>> isinstance(found, Concentration), found.observed
    (True, 1.0)
    """

    observed: float
    """Mean over prompts of `importance_concentration`, in [1/M, 1]; 1 = every token matters to one model."""
    null_mean: float
    """Its mean were each model's importances shuffled among the tokens."""
    p_value: float
    """One-sided: the share of shuffles that are at least as concentrated (the observed one among them)."""


@checked()
def importance_concentration(difference: Float[np.ndarray, "*R M k"]) -> Float[np.ndarray, "*R"]:
    """Return `sum_i max_m d_mi / sum_i sum_m d_mi` for each prompt, with `d = max(difference, 0)`.

    The share of all importance (loss without token i minus loss with all, of model m) that falls to each token's main
    model. In [1/M, 1]: 1/M = every token matters to all models alike, 1 = to one; NaN where no token matters.

    >>> float(importance_concentration(np.array([[3.0, 0.0], [0.0, 1.0]])))
    1.0
    >>> float(importance_concentration(np.array([[3.0, 1.0], [3.0, 1.0]])))
    0.5
    """
    gained = np.maximum(difference.astype(np.float64), 0.0)
    total = gained.sum(axis=(-2, -1))
    main = gained.max(axis=-2).sum(axis=-1)
    return np.asarray(np.where(total > 0, main / np.where(total > 0, total, 1.0), np.nan))


@checked(n_permutations=1, seed=0)
def concentration_test(
    difference: Float[np.ndarray, "R M k"], n_permutations: int = 1000, seed: int = 0
) -> Concentration:
    """Test whether models avoid each other's tokens in R prompts.

    Null: each model has tokens that matter as much as its own do, but which ones has nothing to do with the other
    models' (every model's k importances are shuffled on their own). Where each model needs few tokens that null is
    high as well: concentration alone does not say that models split the tokens.

    A prompt in which no token matters is left out; with none left all is NaN.

    >>> own = np.repeat(np.eye(4), 2, axis=1)[None]  # four models, two tokens each
    >>> test = concentration_test(own)
    >>> test.observed, test.null_mean < 0.8, test.p_value < 0.01
    (1.0, True, True)
    """
    kept = difference[~np.isnan(importance_concentration(difference))]
    if not len(kept):
        return Concentration(float("nan"), float("nan"), float("nan"))
    observed = float(importance_concentration(kept).mean())
    generator = np.random.default_rng(seed)
    shuffles = (generator.permuted(kept, axis=-1) for _ in range(n_permutations))
    null = np.array([importance_concentration(shuffled).mean() for shuffled in shuffles])
    p_value = (1 + np.sum(null >= observed * (1 - 1e-12))) / (1 + n_permutations)
    return Concentration(observed, float(null.mean()), float(p_value))
