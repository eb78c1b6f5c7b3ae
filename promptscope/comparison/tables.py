"""Tables of prompts that are compared: norms, ranks, similarities, clusters; pure functions of their vectors."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float

from promptscope.comparison.vectors import PromptVectors
from promptscope.statistics import distance_matrix, effective_rank, silhouette_test
from promptscope.statistics.distances import Metric

RANDOM_DRAWS = 20
_METRICS: dict[Metric, str] = {"cosine": "cosine", "l2": "distance"}


def prompt_table(prompts: Sequence[PromptVectors], groups: Mapping[str, str], seed: int = 0) -> pd.DataFrame:
    """Return one row for each prompt.

    - `tokens`, `width`: k and d of its vectors (k, d);
    - `norm_mean`, `norm_min`, `norm_max`: L2 norms of its vectors;
    - `effective_rank`, from 1 to k: how many directions the vectors use (`ps.statistics.effective_rank`);
      `random_rank`: its mean for random vectors of the same norms;
    - `inner_cosine`: mean cosine of two different vectors, in [-1, 1]; 0 for random directions, NaN for a single
      vector.
    """
    rows = []
    for one in prompts:
        norms = np.linalg.norm(one.x.astype(np.float64), axis=1)
        k = len(norms)
        cosines = 1 - distance_matrix(one.x)
        inner = (cosines.sum() - k) / (k * (k - 1)) if k > 1 else np.nan
        random = [effective_rank(_random(one.x, seed + draw)) for draw in range(RANDOM_DRAWS)]
        rows.append(
            (one.name, groups[one.name], *one.x.shape, norms.mean(), norms.min(), norms.max(),
             effective_rank(one.x), float(np.mean(random)), inner)
        )  # fmt: skip
    columns = ["prompt", "group", "tokens", "width", "norm_mean", "norm_min", "norm_max", "effective_rank"]
    return pd.DataFrame(rows, columns=[*columns, "random_rank", "inner_cosine"])


def similarity_table(prompts: Sequence[PromptVectors], groups: Mapping[str, str], seed: int = 0) -> pd.DataFrame:
    """Return one row for each pair of prompts of one width, with the six similarities of `ps.statistics`.

    See `ps.statistics.prompt_similarities`. The pairwise ones are NaN for prompts of different lengths, whose positions
    do not correspond. `random_cosine` is the average cosine of the first prompt with random vectors of the second's
    norms: what dissimilar prompts have by chance.
    """
    rows = []
    for number, (a, b) in enumerate(_pairs(prompts)):
        row: dict[str, object] = {"prompt": a.name, "other": b.name, "same_group": groups[a.name] == groups[b.name]}
        random = _random(b.x, seed + number)
        means = [x.mean(axis=0, keepdims=True, dtype=np.float64) for x in (a.x, b.x, random)]
        for metric, name in _METRICS.items():
            matrix = _similar(distance_matrix(a.x, b.x, metric), metric)
            row[f"average_{name}"] = float(_similar(distance_matrix(means[0], means[1], metric), metric).item())
            row[f"pairwise_{name}"] = float(np.diagonal(matrix).mean()) if len(a.x) == len(b.x) else np.nan
            row[f"per_token_{name}"] = float(matrix.mean())
        row["random_cosine"] = float(1 - distance_matrix(means[0], means[2]).item())
        rows.append(row)
    columns = ["average_cosine", "pairwise_cosine", "per_token_cosine", "random_cosine"]
    columns += ["average_distance", "pairwise_distance", "per_token_distance"]
    return pd.DataFrame(rows, columns=["prompt", "other", "same_group", *columns])


def cluster_table(
    prompts: Sequence[PromptVectors], groups: Mapping[str, str], n_permutations: int = 199, seed: int = 0
) -> pd.DataFrame:
    """Return silhouettes, one row for each kind of label and width, compared with those of shuffled labels.

    - `vectors by prompt`: are the vectors of one prompt nearer to each other than to those of other prompts? The labels
      of single vectors are shuffled.
    - `prompts by group`: are the prompts of one group nearer to each other than to others? The distance of two prompts
      is the mean cosine distance of their vectors. The labels of whole prompts are shuffled, since the vectors of one
      prompt are not independent.

    `silhouette` is in [-1, 1], higher = tighter clusters (`ps.statistics.silhouette`).
    `p_value = (1 + #{shuffled >= observed}) / (1 + n_permutations)`; with few prompts there are few permutations, and p
    cannot be small. The table has no row where all labels are equal, or all are different.
    """
    rows = []
    for width, mine in by_width(prompts).items():
        x = np.concatenate([one.x for one in mine]).astype(np.float64)
        of_vectors = [one.name for one in mine for _ in one.x]
        if 1 < len(mine) < len(x):
            test = silhouette_test(distance_matrix(x), of_vectors, n_permutations, seed)
            rows.append(("vectors by prompt", width, len(x), len(mine), test.score, test.null_mean, test.p_value))
        labels = [groups[one.name] for one in mine]
        if 1 < len(set(labels)) < len(mine):
            test = silhouette_test(_between(mine), labels, n_permutations, seed)
            rows.append(
                ("prompts by group", width, len(mine), len(set(labels)), test.score, test.null_mean, test.p_value)
            )
    return pd.DataFrame(rows, columns=["labels", "width", "n", "n_labels", "silhouette", "shuffled", "p_value"])


def group_table(similarities: pd.DataFrame) -> pd.DataFrame:
    """Return mean similarities over pairs of prompts within and between groups."""
    columns = [name for name in similarities if name.endswith(("cosine", "distance"))]
    table = similarities.groupby("same_group", sort=False)[columns].mean()
    table.insert(0, "pairs", similarities.groupby("same_group", sort=False).size())
    return table.rename(index={True: "same group", False: "other group"}).rename_axis("of").reset_index()


def by_width(prompts: Sequence[PromptVectors]) -> dict[int, list[PromptVectors]]:
    """Return width -> prompts; vectors of different widths cannot be compared."""
    found: dict[int, list[PromptVectors]] = {}
    for one in prompts:
        found.setdefault(one.x.shape[1], []).append(one)
    return found


def _pairs(prompts: Sequence[PromptVectors]) -> list[tuple[PromptVectors, PromptVectors]]:
    return [pair for mine in by_width(prompts).values() for pair in combinations(mine, 2)]


def _similar(distances: Float[np.ndarray, "N M"], metric: Metric) -> Float[np.ndarray, "N M"]:
    return 1 - distances if metric == "cosine" else distances


def _between(prompts: Sequence[PromptVectors]) -> Float[np.ndarray, "P P"]:
    means = np.zeros((len(prompts), len(prompts)))
    for i, j in combinations(range(len(prompts)), 2):
        means[i, j] = means[j, i] = distance_matrix(prompts[i].x, prompts[j].x).mean()
    return means


def _random(x: Float[np.ndarray, "k d"], seed: int) -> Float[np.ndarray, "k d"]:
    """Return vectors of the same norms in random directions."""
    directions = np.random.default_rng(seed).normal(size=x.shape)
    norms = np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(directions / np.linalg.norm(directions, axis=1, keepdims=True) * norms)
