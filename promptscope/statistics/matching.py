"""Does each item fit its own counterpart better than the others?"""

import numpy as np
from jaxtyping import Float

from promptscope.checks import checked
from promptscope.errors import ArgumentError


@checked(n_permutations=1, seed=0)
def matching_test(
    scores: Float[np.ndarray, "T T"], n_permutations: int = 999, seed: int = 0
) -> tuple[float, float, float]:
    """Return (mean over matching pairs, mean over other pairs, one-sided p-value).

    `scores[i, j]` (T, T) says how well item i (such as the description decoded from the prompt of task i) fits item j
    (the words of task j); higher = better. Null hypothesis: which i belongs to which j is random, so columns are
    permuted: `p = (1 + #{mean of the permuted diagonal >= observed}) / (1 + n_permutations)`. T items have T!
    permutations, so p cannot be much below 1/T!.

    Raises:
        ArgumentError: fewer than two items.

    >>> matched, mismatched, p = matching_test(np.eye(8))
    >>> matched, mismatched, p
    (1.0, 0.0, 0.001)
    """
    n = len(scores)
    if n < 2:
        raise ArgumentError(f"scores must be of at least two items, got a matrix of shape {scores.shape}")
    everyone = np.arange(n)
    matched = float(np.diag(scores).mean())
    mismatched = float(scores[~np.eye(n, dtype=bool)].mean())
    generator = np.random.default_rng(seed)
    null = np.array([scores[everyone, generator.permutation(n)].mean() for _ in range(n_permutations)])
    p_value = (1 + int(np.sum(null >= matched - 1e-12))) / (1 + n_permutations)
    return matched, mismatched, p_value
