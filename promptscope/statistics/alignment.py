"""Do prompt tokens lie near the embeddings of the model that needs them? Alignment, with its null and exact tests.

There are R prompts ("runs") of k tokens. `assignment[r, i]` is the number of the model to which token i of prompt r is
most important, and `vote[r, i]` that of the model whose embeddings it is nearest to. Models are only compared within a
run: the same number may be another model in another run.
"""

from dataclasses import dataclass
from math import comb, factorial

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import binomtest

from promptscope.checks import checked
from promptscope.errors import ArgumentError


@dataclass(frozen=True)
class Alignment:
    """How often assignment and vote agree, compared with chance.

    >>> result = alignment_test(np.array([[0, 0, 1, 1]]), np.array([[0, 0, 1, 1]]), n_models=2)
    >>> isinstance(result, Alignment), result.kappa
    (True, 1.0)
    """

    observed: float
    """Share of tokens where they agree, in [0, 1]; higher = more aligned (the paper's Table 13)."""
    null_mean: float
    """Mean of `observed` if the assignment is shuffled among the tokens of each prompt."""
    p_value: float
    """Exact, one-sided: the probability of at least `observed` if it is shuffled."""
    kappa: float
    """`(observed - null_mean) / (1 - null_mean)`: 0 = chance, 1 = all agree; NaN if a shuffled one always agrees."""
    binomial_p: float
    """Exact one-sided binomial test against 1/M, the paper's "random"; too kind where models have unequal shares."""


@checked(n_models=1)
def alignment_test(assignment: Int[np.ndarray, "R k"], vote: Int[np.ndarray, "R k"], n_models: int) -> Alignment:
    """Test the agreement of *assignment* and *vote* (R, k) against its exact permutation distribution.

    Null hypothesis: which tokens a model gets is random, but how many it gets (by assignment, and by vote) is fixed.
    The assignment of each prompt is permuted among its k tokens. The distribution of the number of agreements is
    computed exactly for each prompt, and convolved over prompts. Tokens of one prompt are treated as exchangeable, not
    as independent.

    Raises:
        ArgumentError: models of more than *n_models* numbers in one run.

    Reference: Reimann & Sadrieh 2024, Table 13, which compares with 1/M and names no test.

    >>> result = alignment_test(np.array([[0, 0, 1, 1]]), np.array([[0, 0, 1, 1]]), n_models=2)
    >>> result.observed, result.null_mean, round(result.p_value, 6)
    (1.0, 0.5, 0.166667)
    """
    for models in np.concatenate([assignment, vote], axis=1):  # numbers are names: they need not begin at 0
        if len(np.unique(models)) > n_models:
            raise ArgumentError(
                f"assignment and vote name {len(np.unique(models))} models in one run, more than "
                f"n_models={n_models}: correct n_models"
            )
    hits = int((assignment == vote).sum())
    null = agreement_null(assignment, vote)
    total = assignment.size
    observed, null_mean = hits / total, float(null @ np.arange(len(null))) / total
    kappa = (observed - null_mean) / (1 - null_mean) if null_mean < 1 - 1e-12 else float("nan")
    binomial = binomtest(hits, total, 1 / n_models, alternative="greater").pvalue
    # The tail is summed from its small end, and rounding must not take it above 1.
    p_value = min(1.0, float(null[hits:][::-1].sum()))
    return Alignment(observed, null_mean, p_value, kappa, float(binomial))


@checked()
def agreement_null(assignment: Int[np.ndarray, "R k"], vote: Int[np.ndarray, "R k"]) -> Float[np.ndarray, "hits"]:
    """Return the probabilities of h = 0..R k agreements if each prompt's assignment is permuted at random.

    For one prompt with a_c tokens assigned to model c and v_c voted for it, the number of ways to place i agreements is
    the coefficient of x^i in the rook polynomial `prod_c sum_i C(a_c, i) C(v_c, i) i! x^i`; the number of permutations
    with exactly h agreements follows by inclusion and exclusion. All computations are in integers, so nothing is
    rounded.

    Reference: Riordan 1958, *An Introduction to Combinatorial Analysis*, chapter 7.

    >>> agreement_null(np.array([[0, 0, 1]]), np.array([[0, 1, 1]])).round(6).tolist()
    [0.333333, 0.0, 0.666667, 0.0]
    """
    null = np.ones(1)
    for assigned, voted in zip(assignment, vote, strict=True):
        null = np.convolve(null, _agreements(assigned, voted))
    return null


@checked()
def mcnemar_test(before: Bool[np.ndarray, "n"], after: Bool[np.ndarray, "n"]) -> tuple[int, int, float]:
    """Return (n that became true, n that became false, two-sided exact p-value) for paired yes/no results.

    Null hypothesis: a change goes either way with probability 1/2 (binomial test over the changes; p = 1 if there is
    none). *before* and *after* have shape (n,).

    >>> mcnemar_test(np.array([False] * 8 + [True] * 2), np.array([True] * 8 + [False] * 2))
    (8, 2, 0.109375)
    """
    gained, lost = int((~before & after).sum()), int((before & ~after).sum())
    p_value = float(binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0
    return gained, lost, p_value


def _agreements(assigned: np.ndarray, voted: np.ndarray) -> np.ndarray:
    k = len(assigned)
    rooks = [1]
    for model in np.unique(assigned):
        a, v = int((assigned == model).sum()), int((voted == model).sum())
        rooks = _product(rooks, [comb(a, i) * comb(v, i) * factorial(i) for i in range(min(a, v) + 1)])
    placed = [ways * factorial(k - i) for i, ways in enumerate(rooks)]  # agreements at i chosen places, the rest free
    exactly = [
        sum((-1) ** (i - hits) * comb(i, hits) * placed[i] for i in range(hits, len(placed))) for hits in range(k + 1)
    ]
    return np.array([count / factorial(k) for count in exactly])


def _product(a: list[int], b: list[int]) -> list[int]:
    result = [0] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            result[i + j] += x * y
    return result
