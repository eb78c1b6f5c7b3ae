"""The paper's claims as yes or no, as printed and without self-pairs, with p-values that know what vectors share."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from promptscope.statistics import distance_matrix, p_value_of_draws
from recipes.prompt_geometry.distances import distance_cells, reference_means, word_correlations
from recipes.prompt_geometry.neighbourhoods import closest_table, neighbourhood_table, task_counts
from recipes.prompt_geometry.settings import CODE_SHARE, PARTNERS, Settings
from recipes.prompt_geometry.vectors import Geometry

READINGS = {"fixed": False, "paper code": True}
"""Reading -> whether a vector counts as its own pair and neighbour."""


def label_test(
    distances: Float[np.ndarray, "R R"],
    labels: Sequence[str],
    within: Sequence[str],
    n_permutations: int = 999,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return (mean distance of runs with one label, the same for shuffled labels, one-sided p-value).

    Runs, not vectors, are what is drawn: the labels of whole runs change places, and only among runs of the same
    *within* label, so that a test of the word says nothing of the task. p = how often shuffled runs lie as close.

    >>> apart = 1.0 - np.kron(np.eye(2), np.ones((4, 4)))
    >>> mean, shuffled, p = label_test(apart, list("aaaabbbb"), list("12341234"))
    >>> mean, p < 0.2
    (0.0, True)
    """
    codes = np.unique(np.asarray(labels), return_inverse=True)[1]
    groups = [np.flatnonzero(np.asarray(within) == label) for label in dict.fromkeys(within)]
    generator = np.random.default_rng(seed)

    def mean(codes: np.ndarray) -> float:
        same = (codes[:, None] == codes[None, :]) & ~np.eye(len(codes), dtype=bool)
        return float(distances[same].mean()) if same.any() else float("nan")

    def shuffled() -> np.ndarray:
        new = codes.copy()
        for at in groups:
            new[at] = codes[generator.permutation(at)]
        return new

    observed = mean(codes)
    draws = np.array([mean(shuffled()) for _ in range(n_permutations)])
    return observed, float(draws.mean()), p_value_of_draws(observed, draws, higher_is_more=False)


def factor_tests(where: Geometry, n_permutations: int, seed: int = 0) -> pd.DataFrame:
    """Return whether runs of one word (one task) lie closer than chance, with the other factor held fixed."""
    first = where.labels.drop_duplicates(["task", "word"])
    length = len(where.x) // len(first)
    apart = distance_matrix(where.x).reshape(len(first), length, len(first), length).mean(axis=(1, 3))
    rows = []
    for factor, other in (("word", "task"), ("task", "word")):
        labels, within = first[factor].tolist(), first[other].tolist()
        rows.append((factor, other, *label_test(apart, labels, within, n_permutations, seed)))
    columns = ["same", "with_other", "mean_distance", "shuffled", "p_value"]
    return pd.DataFrame(rows, columns=columns)


def claim_table(where: Geometry, settings: Settings) -> pd.DataFrame:
    """Return one line for each claim of the paper and each reading: does it hold, by which numbers, with which p.

    `p_value` is of the permutation test that goes with the claim (`factor_tests`, Mantel); NaN where the claim is a
    count that no test goes with.
    """
    tests = factor_tests(where, settings.permutations, settings.seed).set_index("same")["p_value"]
    words = word_correlations(where, settings.permutations, settings.seed)
    rows = []
    for reading, pairs in READINGS.items():
        table_epsilon = settings.prompt_epsilon * (CODE_SHARE if pairs else 1.0)
        cells = distance_cells(where, pairs)
        word, task = (np.array(list(cells[table].values())) for table in ("1", "2"))
        means = reference_means(where, "cosine", pairs)
        rows += [
            ("same word closer than same task", reading, word.max() < task.min(), word.mean(), task.mean(), np.nan),
            ("same word closer than all prompts", reading, *_below(word, means["all prompts"]), tests["word"]),
            ("same task closer than all prompts", reading, *_below(task, means["all prompts"]), tests["task"]),
            ("same task closer than random tokens", reading, *_below(task, means["random tokens"]), np.nan),
        ]
        if len(words):
            r, p = ("as_printed", "naive_p") if pairs else ("correlation", "within_position_p")
            holds = bool((words[p] < 0.01).all())
            rows.append(
                ("all words' geometries agree, p < .01", reading, holds, words[r].min(), np.nan, words[p].max())
            )
        rows += _neighbour_claims(where, settings.epsilon, table_epsilon, reading, pairs)
    table = pd.DataFrame(rows, columns=["claim", "reading", "holds", "value", "compared_with", "p_value"])
    return table.sort_values("claim", kind="stable").reset_index(drop=True)


def _neighbour_claims(where: Geometry, epsilon: float, table_epsilon: float, reading: str, pairs: bool) -> list[tuple]:
    counts = task_counts(where, table_epsilon, pairs)
    own = np.diag(counts.to_numpy())
    others = counts.to_numpy() - np.diag(own)
    rows = [
        ("tasks with most neighbours of their own", reading, bool((own > others.max(axis=1)).all()),
         float((own > others.max(axis=1)).sum()), float(len(own)), np.nan)
    ]  # fmt: skip
    known = {a: b for pair in PARTNERS for a, b in (pair, pair[::-1]) if set(pair) <= set(counts.index)}
    if known:
        right = sum(_largest_other(counts, task) == partner for task, partner in known.items())
        name = "tasks whose next neighbour is their partner"
        rows.append((name, reading, right == len(known), float(right), float(len(known)), np.nan))
    around = neighbourhood_table(where, epsilon, pairs).set_index("of")
    reached = around.loc["random tokens", "share_with_a_prompt"]
    rows.append(("few random tokens have prompts around", reading, reached < 0.05, reached, 0.05, np.nan))
    closest = closest_table(where, epsilon).set_index("of").loc["prompt tokens"]
    values = (float(closest["prompts"]), float(closest["vocabulary"]))
    rows.append(("prompts closer to prompts than to tokens", reading, values[0] < values[1], *values, np.nan))
    return rows


def _largest_other(counts: pd.DataFrame, task: str) -> str:
    return str(counts.loc[task].drop(task).idxmax())


def _below(means: Float[np.ndarray, "G"], reference: float) -> tuple[bool, float, float]:
    return bool((means < reference).all()), float(means.mean()), reference
