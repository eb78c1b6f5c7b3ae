"""Tables 1 and 2, the bars of Figures 3 and 5, the correlation of words' geometries: functions of vectors."""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from promptscope.statistics import (
    Metric,
    distance_matrix,
    effective_rank,
    group_mean_distances,
    mantel_test,
    mean_distance,
    silhouette_test,
)
from recipes.prompt_geometry.vectors import Geometry

FACTORS = ("position", "task", "word")
AVERAGE = "average cosine distance"


def group_means(where: Geometry, metric: Metric, self_pairs: bool) -> dict[str, dict[Any, float]]:
    """Return position/task/word -> group -> mean distance within the group (Tables 1 and 2: word, task)."""
    distances = distance_matrix(where.x, metric=metric)
    return {factor: group_mean_distances(distances, where.labels[factor].tolist(), self_pairs) for factor in FACTORS}


PANELS = {
    "positions of a run": ("task", "word"),
    "tasks at a word and position": ("word", "position"),
    "words at a task and position": ("task", "position"),
}
"""Panels of Figures 3 and 5: what varies within a bar -> what is held fixed, one bar for each of its values."""


def panel_means(where: Geometry, metric: Metric, self_pairs: bool) -> dict[str, dict[str, float]]:
    """Return the bars of Figures 3 (cosine) and 5 (L2), panel by panel, each the mean over the pairs of a group.

    With the paper's 6 tasks, 10 words and 4 positions: 60 bars (pairs of positions within a run), 40 (pairs of tasks at
    a fixed word and position), 24 (pairs of words at a fixed task and position).
    """
    distances = distance_matrix(where.x, metric=metric)
    return {
        panel: group_mean_distances(distances, [", ".join(map(str, row)) for row in rows], self_pairs)
        for panel, fixed in PANELS.items()
        for rows in [where.labels[list(fixed)].itertuples(index=False)]
    }


def reference_means(where: Geometry, metric: Metric, self_pairs: bool) -> dict[str, float]:
    """Return the mean distances to compare groups with: random tokens, all prompts, the initial words."""
    sets = {
        "random tokens": where.vocabulary[where.sample],
        "all prompts": where.x,
        "initial words": where.vocabulary[list(where.words.values())],
    }
    return {name: mean_distance(distance_matrix(x, metric=metric), self_pairs) for name, x in sets.items()}


def distance_cells(where: Geometry, self_pairs: bool) -> dict[str, dict[tuple[str, str], float]]:
    """Return the cells of Tables 1 and 2."""
    means = group_means(where, "cosine", self_pairs)
    return {
        "1": {(str(word), AVERAGE): value for word, value in means["word"].items()},
        "2": {(str(task), AVERAGE): value for task, value in means["task"].items()},
    }


def distance_table(where: Geometry) -> pd.DataFrame:
    """Return all group means, cosine and L2, without and with self-pairs."""
    rows = []
    for metric in ("cosine", "l2"):
        both = [group_means(where, metric, pairs) for pairs in (False, True)]
        references = [reference_means(where, metric, pairs) for pairs in (False, True)]
        bars = [panel_means(where, metric, pairs) for pairs in (False, True)]
        for by in (*FACTORS, *PANELS):
            without, with_self = ((means | panels)[by] for means, panels in zip(both, bars, strict=True))
            rows += [(metric, by, group, without[group], with_self[group]) for group in without]
        rows += [(metric, "reference", name, references[0][name], references[1][name]) for name in references[0]]
    return pd.DataFrame(rows, columns=["metric", "by", "group", "mean", "mean_with_self_pairs"])


def kinds_of_pairs(where: Geometry) -> pd.DataFrame:
    """Return the mean cosine distance of pairs of vectors by what the two have in common.

    Tables 1 and 2 both hold the pairs of one run, which share word *and* task; here these have a
    line of their own. Vectors of a run start alike and are trained together.
    """
    distances = distance_matrix(where.x)
    task, word = (_same(where.labels[factor]) for factor in ("task", "word"))
    pairs = ~np.eye(len(distances), dtype=bool)
    kinds = {
        "same run": task & word & pairs,
        "same word, other task": ~task & word,
        "same task, other word": task & ~word,
        "other task, other word": ~task & ~word,
    }
    rows = [(name, int(at.sum()) // 2, distances[at].mean() if at.any() else np.nan) for name, at in kinds.items()]
    return pd.DataFrame(rows, columns=["pairs", "n_pairs", AVERAGE])


def word_correlations(where: Geometry, n_permutations: int, seed: int = 0) -> pd.DataFrame:
    """Return, for every two words, how far the distances between their vectors agree, with three p-values.

    The distances of a word are those between the vectors of all its tasks and positions. `naive_p` takes them as
    independent; `mantel_p` reorders vectors; `within_position_p` reorders them within positions, so that agreement due
    to the position alone is part of the null. `as_printed` is r over all entries, each pair twice and the zeros of the
    diagonal too, as the authors computed it.
    """
    rows = []
    per_word = {word: np.flatnonzero(where.labels["word"] == word) for word in where.labels["word"].unique()}
    positions = where.labels["position"].tolist()
    for first, second in combinations(per_word, 2):
        x, y = (distance_matrix(where.x[per_word[word]]) for word in (first, second))
        strata = [positions[row] for row in per_word[first].tolist()]
        test = mantel_test(x, y, n_permutations, seed)
        within = mantel_test(x, y, n_permutations, seed, strata=strata)
        printed = mantel_test(x, y, 1, seed, pairs="all").correlation
        p_values = (test.naive_p_value, test.p_value, within.p_value)
        rows.append((first, second, test.correlation, printed, *p_values, test.n_vectors, test.n_distances))
    columns = ["word", "other", "correlation", "as_printed", "naive_p", "mantel_p", "within_position_p"]
    return pd.DataFrame(rows, columns=[*columns, "n_vectors", "n_distances"])


def correlation_summary(correlations: pd.DataFrame) -> pd.DataFrame:
    """Return the lowest, median and highest of each column of `word_correlations` over pairs of words."""
    numbers = correlations[["correlation", "as_printed", "naive_p", "mantel_p", "within_position_p"]]
    rows = {"lowest": numbers.min(), "median": numbers.median(), "highest": numbers.max()}
    return pd.DataFrame(rows).T.rename_axis("over pairs of words").reset_index()


def cluster_table(where: Geometry, n_permutations: int, seed: int = 0) -> pd.DataFrame:
    """Return the silhouette (cosine) by task, word and position compared with shuffled labels."""
    distances = distance_matrix(where.x)
    rows = []
    for factor in FACTORS:
        labels = where.labels[factor].tolist()
        if 2 <= len(set(labels)) < len(labels):
            test = silhouette_test(distances, labels, n_permutations, seed)
            rows.append((factor, test.score, test.null_mean, test.p_value))
    return pd.DataFrame(rows, columns=["by", "silhouette", "shuffled", "p_value"])


def norm_table(where: Geometry) -> pd.DataFrame:
    """Return mean L2 norms and effective ranks of trained vectors, their starts, and the vocabulary."""
    sets = {
        "trained prompts": where.x,
        "their starts": where.start,
        "steps (trained - start)": where.x - where.start,
        "random tokens": where.vocabulary[where.sample],
    }
    rows = []
    for name, x in sets.items():
        norms = np.linalg.norm(x.astype(np.float64), axis=1)
        rows.append((name, len(x), norms.mean(), norms.std(), effective_rank(x), effective_rank(x, centre=True)))
    columns = ["vectors", "n", "mean_norm", "std_norm", "effective_rank", "effective_rank_centred"]
    return pd.DataFrame(rows, columns=columns)


def _same(labels: pd.Series) -> np.ndarray:
    values = labels.to_numpy()
    return values[:, None] == values[None, :]
