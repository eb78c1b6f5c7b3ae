"""Six similarities of two soft prompts, as in Reimann & Sadrieh 2024."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from promptscope.checks import checked
from promptscope.statistics.distances import distance_matrix


@dataclass(frozen=True)
class PromptSimilarities:
    """Cosines, in [-1, 1], higher = more similar; and L2 distances, >= 0, lower = more similar.

    >>> p = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> same = prompt_similarities(p, p)
    >>> round(same.average_cosine, 6), same.pairwise_distance
    (1.0, 0.0)
    """

    average_cosine: float
    average_distance: float
    pairwise_cosine: float
    pairwise_distance: float
    per_token_cosine: float
    per_token_distance: float


@checked()
def prompt_similarities(p: Float[np.ndarray, "k d"], q: Float[np.ndarray, "k d"]) -> PromptSimilarities:
    """Compare two prompts *p* and *q* of k vectors p_i, q_i of width d, in three ways, by cosine and by L2 distance.

    With s the cosine, or the L2 distance, of two vectors:

    - average: `s(mean_i p_i, mean_i q_i)`;
    - pairwise: `mean_i s(p_i, q_i)`, which depends on the order of the tokens;
    - per token: `mean_ij s(p_i, q_j)`, which does not. Of a prompt with itself it is the paper's "inner complexity",
      which includes the k pairs i = j (cosine 1, distance 0).

    A zero vector (a masked token) has no direction: its cosines are NaN.

    Reference: Reimann & Sadrieh 2024, section 3.1; Vu et al. 2022. Their code adds 1e-6 to every difference, so that
    the distance of a prompt to itself is 2.8e-5 (d = 768), and its docstring confuses pairwise and per token.

    >>> p = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> prompt_similarities(p, p[::-1]).pairwise_cosine, prompt_similarities(p, p[::-1]).per_token_cosine
    (0.0, 0.5)
    """
    means = p.mean(axis=0, keepdims=True, dtype=np.float64), q.mean(axis=0, keepdims=True, dtype=np.float64)
    cosines, distances = 1 - distance_matrix(p, q), distance_matrix(p, q, "l2")
    return PromptSimilarities(
        average_cosine=float(1 - distance_matrix(*means).item()),
        average_distance=float(distance_matrix(*means, "l2").item()),
        pairwise_cosine=float(np.diagonal(cosines).mean()),
        pairwise_distance=float(np.diagonal(distances).mean()),
        per_token_cosine=float(cosines.mean()),
        per_token_distance=float(distances.mean()),
    )
