"""Is each prompt token important to one model only? How concentrated importance is, compared with chance."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from promptscope.checks import checked


@dataclass(frozen=True)
class Concentration:
    """How far the importance of each token is concentrated on one model, compared with chance.

    >>> own = np.repeat(np.eye(4), 2, axis=1)[None]  # four models, two tokens each
    >>> found = concentration_test(own)
    >>> isinstance(found, Concentration), found.observed
    (True, 1.0)
    """

    observed: float
    """Mean over prompts of `importance_concentration`, in [1/M, 1]; 1 = every token matters to one model only."""
    null_mean: float
    """Its mean if each model's importances are shuffled among the tokens."""
    p_value: float
    """One-sided: the share of shuffles that are at least as concentrated, counting the observed order as one."""


@checked()
def importance_concentration(difference: Float[np.ndarray, "*R M k"]) -> Float[np.ndarray, "*R"]:
    """Return `sum_i max_m d_mi / sum_i sum_m d_mi` for each prompt, with `d = max(difference, 0)`.

    *difference* (..., M, k): loss of model m without token i minus its loss with all tokens. The result is the share of
    all importance that belongs to each token's most dependent model. It is in [1/M, 1]: 1/M = every token matters
    equally to all models, 1 = to one model only; NaN if no token matters.

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
    """Test whether models depend on different tokens in R prompts; *difference* is (R, M, k).

    Null hypothesis: each model has the importances that it has, but which tokens they belong to is independent of the
    other models; the k importances of each model are shuffled. If each model needs few tokens, concentration is high
    under the null as well: a high value alone does not show that models divide the tokens among themselves.

    A prompt in which no token matters is left out; if none is left, all results are NaN.

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
