"""The paper's claims: by task, then over tasks, compared with the prompts before training; each counted in two ways.

A number is above zero where its claim is right. The reading `fixed` uses pairs of vectors of different runs and counts
each neighbour once; `paper code` averages over all pairs as the authors do, including each vector with itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.stats import binomtest

from promptscope.statistics import distance_matrix, epsilon_neighbours, nearest_vectors, p_value_of_draws
from recipes.common import Finding, Number, absent, finding_table, judge, over_tasks
from recipes.common.verdicts import mean_with_interval
from recipes.prompt_geometry.distances import reference_means, word_correlations
from recipes.prompt_geometry.neighbourhoods import saturation
from recipes.prompt_geometry.settings import PARTNERS, Settings
from recipes.prompt_geometry.vectors import Geometry

READINGS = {"fixed": False, "paper code": True}
"""Reading -> whether a vector counts as its own pair and neighbour."""
Numbers = Callable[[Geometry], Float[np.ndarray, "R"]]
"""From vectors to a number for each run (task, word)."""


def label_test(
    distances: Float[np.ndarray, "R R"],
    labels: Sequence[str],
    within: Sequence[str],
    n_permutations: int = 999,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return (mean distance of runs with one label, the same for shuffled labels, one-sided p-value).

    Labels are shuffled over whole runs, not single vectors, and only among runs with the same *within* label, so that a
    test of the word does not depend on the task. p = how often runs are as close under shuffled labels.

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
    first, apart = _runs(where), _apart(where)
    rows = []
    for factor, other in (("word", "task"), ("task", "word")):
        labels, within = first[factor].tolist(), first[other].tolist()
        rows.append((factor, other, *label_test(apart, labels, within, n_permutations, seed)))
    columns = ["same", "with_other", "mean_distance", "shuffled", "p_value"]
    return pd.DataFrame(rows, columns=columns)


def claim_table(where: Geometry, settings: Settings, matched_prompts: bool = False) -> pd.DataFrame:
    """Return one line for each claim, reading and task, and one over tasks; columns of `recipes.common.Finding`.

    A claim about training is compared with the same vectors before training (`null`, paired by run).
    *matched_prompts*: their epsilon was chosen so that neighbourhoods have the paper's size, and `meaning` says so.
    """
    tests = factor_tests(where, settings.permutations, settings.seed).set_index("same")["p_value"]
    words = word_correlations(where, settings.permutations, settings.seed)
    tables = []
    for reading, pairs in READINGS.items():
        found = [
            *_distance_claims(where, pairs, {"word": float(tests["word"]), "task": float(tests["task"])}),
            _geometries_agree(words, pairs),
            *_neighbour_claims(where, settings, pairs, matched_prompts),
            _few_tokens_have_prompts(where, settings.epsilon),
        ]
        tables.append(finding_table(found).assign(reading=reading))
    table = pd.concat(tables, ignore_index=True)
    table = table[["claim", "reading", *(name for name in table if name not in ("claim", "reading"))]]
    if matched_prompts:
        about = table["section"].eq("3.2.2, Table 3")
        table.loc[about, "meaning"] += "; at an epsilon matched to the size of the paper's neighbourhoods"
    return table.sort_values("claim", kind="stable").reset_index(drop=True)


def _distance_claims(where: Geometry, pairs: bool, p_values: dict[str, float]) -> list[Finding]:
    tokens = reference_means(where, "cosine", pairs)["random tokens"]

    def closer(first: str, second: str) -> Numbers:
        return lambda of: _to(of, second, pairs) - _to(of, first, pairs)

    said = "all pairs, a vector with itself too" if pairs else "pairs of different runs"
    claims: list[tuple[str, Numbers, str, bool, float]] = [
        (
            "same word closer than same task",
            closer("word", "task"),
            "distance to prompts of the same task less that to prompts of the same word",
            False,  # prompts of one word start at the same point: the claim is that the start decides
            np.nan,
        ),
        (
            "same word closer than all prompts",
            closer("word", "all"),
            "distance to all prompts less that to prompts of the same word",
            False,
            p_values["word"],
        ),
        (
            "same task closer than all prompts",
            closer("task", "all"),
            "distance to all prompts less that to prompts of the same task",
            True,
            p_values["task"],
        ),
        (
            "same task closer than random tokens",
            lambda of: tokens - _to(of, "task", pairs),
            "distance between random tokens less that to prompts of the same task",
            True,
            np.nan,
        ),
    ]
    found = []
    for claim, numbers, meaning, trained, p_value in claims:
        about = f"cosine {meaning}, {said}, mean over words"
        found += _by_task(where, claim, "3.1, Tables 1 and 2", numbers, about, trained, p_value)
    return found


def _geometries_agree(words: pd.DataFrame, pairs: bool) -> Finding:
    claim, section, where = "all words' geometries agree, p < .01", "3.1", f"{len(words)} pairs of words"
    if not len(words):
        return absent(claim, section, where, "fewer than two words")
    r, p = ("as_printed", "naive_p") if pairs else ("correlation", "within_position_p")
    lowest, least = float(words[r].min()), float(words[p].max())
    agreeing = int((words[p] < 0.01).sum())
    verdict = "holds" if least < 0.01 and lowest > 0 else "does not hold" if lowest <= 0 else "undecided"
    test = "entries taken as independent" if pairs else "Mantel within positions"
    meaning = (
        f"lowest Pearson's r of the distances of two words, with the largest p over pairs ({test}); p < .01 for "
        f"{agreeing} of {len(words)}"
    )
    return replace(judge(claim, section, where, Number(lowest), meaning, p_value=least), verdict=verdict)


def _neighbour_claims(where: Geometry, settings: Settings, pairs: bool, matched_prompts: bool) -> list[Finding]:
    epsilon = settings.table3_epsilon
    claims: list[tuple[str, Numbers, str]] = [
        (
            "most neighbours are of the own task",
            lambda of: _own_less_largest_other(of, epsilon, pairs),
            "share of the own task's vectors that lie around a vector, less that of the other task with most",
        )
    ]
    tasks = where.labels["task"].unique().tolist()
    partners = {a: b for pair in PARTNERS for a, b in (pair, pair[::-1]) if set(pair) <= set(tasks)}
    if partners and len(tasks) > 2:
        claims.append(
            (
                "the similar task's come next",
                lambda of: _partner_less_largest_other(of, epsilon, partners),
                "share of the similar task's vectors around a vector, less that of the other task with most",
            )
        )
    full = saturation(where) if matched_prompts else ""
    found = []
    for claim, numbers, meaning in claims:
        about = f"{meaning} (cosine distance below {epsilon:.3g}), mean over words"
        if full:
            found.append(absent(claim, "3.2.2, Table 3", "all tasks", f"saturated: {full}"))
        else:
            found += _by_task(where, claim, "3.2.2, Table 3", numbers, about, True)
    nearer = "distance to the closest token less that to the closest other prompt vector, mean over words"
    return [
        *found,
        *_by_task(where, "prompts closer to prompts than to tokens", "3.2.3", _tokens_less_prompts, nearer, True),
    ]


def _few_tokens_have_prompts(where: Geometry, epsilon: float) -> Finding:
    found = epsilon_neighbours(where.vocabulary[where.sample], where.x, epsilon)
    n, k = len(found), sum(len(rows) > 0 for rows in found)
    interval = binomtest(k, n).proportion_ci(method="exact")
    number = Number(0.05 - k / n, 0.05 - interval.high, 0.05 - interval.low)
    meaning = f"0.05 less the share of random tokens with a prompt vector within {epsilon:.3g}: {k} of {n}"
    return judge("few random tokens have prompts around", "3.2.1", f"{n} random tokens", number, meaning)


def _by_task(
    where: Geometry,
    claim: str,
    section: str,
    numbers: Numbers,
    meaning: str,
    trained: bool,
    p_value: float = np.nan,
) -> list[Finding]:
    """Judge a claim on each task, by the interval over its words, then over tasks.

    *trained*: the claim is about training, so that the number has to exceed that of the untrained prompts.
    """
    tasks = _runs(where)["task"].to_numpy()
    now, before = numbers(where), numbers(replace(where, x=where.start)) if trained else None
    found = []
    for task in dict.fromkeys(tasks.tolist()):
        at = tasks == task
        null, beyond = np.nan, None
        if before is not None:
            null, beyond = float(before[at].mean()), Number(*mean_with_interval(now[at] - before[at]))
        about = meaning + ("; null: the same prompts before training" if trained else "")
        number = Number(*mean_with_interval(now[at]))
        found.append(judge(claim, section, str(task), number, about, null, beyond))
    last = over_tasks(found)
    if not np.isnan(p_value):
        last = judge(
            claim, section, last.where, Number(last.number, last.low, last.high),
            f"{last.meaning}; p: labels of whole runs shuffled within the other factor",
            last.null, Number(last.beyond, last.beyond_low, last.beyond_high) if trained else None, p_value,
        )  # fmt: skip
    return [*found, last]


def _runs(where: Geometry) -> pd.DataFrame:
    return where.labels.drop_duplicates(["task", "word"]).reset_index(drop=True)


def _apart(where: Geometry) -> Float[np.ndarray, "R R"]:
    """Return mean distances between the vectors of two runs; for a run and itself, including the zero distances."""
    n = len(_runs(where))
    length = len(where.x) // n
    return distance_matrix(where.x).reshape(n, length, n, length).mean(axis=(1, 3))


def _to(where: Geometry, kind: str, pairs: bool) -> Float[np.ndarray, "R"]:
    """Return each run's mean distance to runs of the same word, the same task, or all; with *pairs*, also itself."""
    first, apart = _runs(where), _apart(where)
    task, word = (_same(first[factor]) for factor in ("task", "word"))
    at = {"word": word, "task": task, "all": np.ones_like(word)}[kind]
    if not pairs:
        at = at & ~np.eye(len(first), dtype=bool)
    counts = at.sum(axis=1)
    return np.divide((apart * at).sum(axis=1), counts, out=np.full(len(first), np.nan), where=counts > 0)


def _shares(where: Geometry, epsilon: float, pairs: bool) -> tuple[list[str], Float[np.ndarray, "R T"]]:
    """Return (tasks, share of each task's vectors that are neighbours of a run's vectors); with *pairs*, itself too."""
    n = len(_runs(where))
    length = len(where.x) // n
    tasks = where.labels["task"].to_numpy()
    names = list(dict.fromkeys(tasks.tolist()))
    near = distance_matrix(where.x) < epsilon
    np.fill_diagonal(near, pairs)
    counts = np.stack([near[:, tasks == name].sum(axis=1) for name in names], axis=1)
    possible = np.array([[(tasks == name).sum() - (own == name and not pairs) for name in names] for own in tasks])
    return names, (counts / possible).reshape(n, length, len(names)).mean(axis=1)


def _own_less_largest_other(where: Geometry, epsilon: float, pairs: bool) -> Float[np.ndarray, "R"]:
    names, shares = _shares(where, epsilon, pairs)
    own = np.array([names.index(task) for task in _runs(where)["task"]])
    return _less_largest(shares, own, own, _runs(where)["task"].to_numpy())


def _partner_less_largest_other(where: Geometry, epsilon: float, partners: dict[str, str]) -> Float[np.ndarray, "R"]:
    names, shares = _shares(where, epsilon, False)
    tasks = _runs(where)["task"]
    own = np.array([names.index(task) for task in tasks])
    partner = np.array([names.index(partners[task]) if task in partners else -1 for task in tasks])
    found = _less_largest(shares, partner, own, tasks.to_numpy())
    return np.where(partner >= 0, found, np.nan)


def _less_largest(
    shares: Float[np.ndarray, "R T"], of: np.ndarray, own: np.ndarray, tasks: np.ndarray
) -> Float[np.ndarray, "R"]:
    """Return the share of the task *of* minus the largest share of a third task (one for all runs of a task)."""
    result = np.full(len(shares), np.nan)
    for task in dict.fromkeys(tasks.tolist()):
        at = tasks == task
        left = [t for t in range(shares.shape[1]) if t not in (of[at][0], own[at][0])]
        if left:
            largest = max(left, key=lambda t: shares[at, t].mean())
            result[at] = shares[at, of[at][0]] - shares[at, largest]
    return result


def _tokens_less_prompts(where: Geometry) -> Float[np.ndarray, "R"]:
    n = len(_runs(where))
    to_tokens = nearest_vectors(where.x, where.vocabulary, 1)[1][:, 0]
    to_prompts = nearest_vectors(where.x, where.x, 1, exclude=np.arange(len(where.x)))[1][:, 0]
    return (to_tokens - to_prompts).reshape(n, -1).mean(axis=1)


def _same(labels: pd.Series) -> Bool[np.ndarray, "R R"]:
    values = labels.to_numpy()
    return np.asarray(values[:, None] == values[None, :])
