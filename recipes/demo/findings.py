"""What the numbers of the demo show, in sentences that are computed from them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import pearsonr

import promptscope as ps
from promptscope.statistics import mean_interval

LEVEL = 0.05
NULL = "random v2"


@dataclass(frozen=True)
class Finding:
    """A sentence with the number that it rests on; `weight` ranks findings by how clear they are (0: not clear)."""

    kind: str
    sentence: str
    label: str
    value: str
    detail: str
    weight: float


def findings(
    right: Mapping[str, Mapping[str, Sequence[bool]]], kl: Mapping[str, ps.ProbeResult], heads: pd.DataFrame
) -> list[Finding]:
    """Return what scores, attention KL and variability show."""
    gains = [_gain(task, conditions) for task, conditions in right.items()]
    return [*gains, _kinds(right), _moved(kl), _same(heads), _content(heads)]


def headline(shown: Sequence[Finding]) -> list[Finding]:
    """Return the three findings with the largest weights, one of each kind."""
    best: dict[str, Finding] = {}
    for finding in sorted(shown, key=lambda finding: -finding.weight):
        best.setdefault(finding.kind, finding)
    return list(best.values())[:3]


def _gain(task: str, right: Mapping[str, Sequence[bool]]) -> Finding:
    """v2 against the better of frozen model and random prompt, over the same inputs."""
    share = {condition: float(np.mean(hits)) for condition, hits in right.items()}
    null = max(("frozen model", NULL), key=lambda condition: share[condition])
    difference = np.asarray(right["v2"], dtype=float) - np.asarray(right[null], dtype=float)
    low, high = (float(bound) for bound in mean_interval(difference))
    interval = f"95 % interval {points(low)} to {points(high)}"
    verdict = "v2 is above both" if low > 0 else "v2 is below" if high < 0 else "that is no clear difference"
    return Finding(
        "gain",
        f"{task}: v2 answers {share['v2']:.0%} of {len(difference)} held-out inputs right and v1 {share['v1']:.0%}; "
        f"the frozen model {share['frozen model']:.0%}, a random prompt of v2's norms {share[NULL]:.0%}. v2 gains "
        f"{points(difference.mean())} points on the better of these two ({interval}): {verdict}.",
        f"accuracy of v2 on {task}, above the better of frozen model and random prompt",
        f"{points(difference.mean())} points",
        f"{share[null]:.0%} to {share['v2']:.0%}; {interval}",
        10 + float(difference.mean()) if low > 0 else 0.0,
    )


def _kinds(right: Mapping[str, Mapping[str, Sequence[bool]]]) -> Finding:
    """v2 against v1, over the inputs of all tasks."""
    pairs = [(np.asarray(hits["v2"], dtype=float), np.asarray(hits["v1"], dtype=float)) for hits in right.values()]
    difference = np.concatenate([deep - shallow for deep, shallow in pairs])
    low, high = (float(bound) for bound in mean_interval(difference))
    gain = float(difference.mean())
    interval = f"95 % interval {points(low)} to {points(high)}"
    verdict = "better than" if low > 0 else "worse than" if high < 0 else "not clearly different from"
    return Finding(
        "kinds",
        f"Over all tasks, v2 is {verdict} v1: {points(gain)} points ({interval}).",
        "accuracy of v2 above v1, all tasks",
        f"{points(gain)} points",
        interval,
        1 + abs(gain) if low > 0 or high < 0 else 0.0,
    )


def _moved(kl: Mapping[str, ps.ProbeResult]) -> Finding:
    """Heads whose attention v2 changes more, or less, than its null does; Holm's correction over a task's heads."""
    shown, counts, details = [], {}, {}
    for task, result in kl.items():
        difference = result.compare("v2", NULL)
        significant = holm(difference.data["p_value"].values.ravel()) < LEVEL
        signs = difference.values.values.ravel()
        more, less = int((significant & (signs > 0)).sum()), int((significant & (signs < 0)).sum())
        means = [float(result.values.sel(prompt=name).mean()) for name in ("v2", NULL)]
        counts[task] = (more, less, signs.size)
        details[task] = f"mean KL {means[0]:.2f} against {means[1]:.2f} nats"
        shown.append(
            f"{task}: {more} of {signs.size} heads more, {less} less ({means[0]:.2f} against {means[1]:.2f} nats)"
        )
    task = max(counts, key=lambda name: max(counts[name][:2]))
    more, less, n = counts[task]
    most, sense, other = (more, "more", f"{less} move less") if more >= less else (less, "less", f"{more} move more")
    return Finding(
        "moved",
        "Attention under v2 against attention under a random prompt of the same norms (paired permutation test for "
        f"each head, Holm-corrected p < {LEVEL}; mean KL): " + "; ".join(shown) + ".",
        f"heads that v2 moves {sense} than a random prompt does ({task})",
        f"{most} of {n}",
        f"{other}; {details[task]}",
        2 + most / n if most else 0.0,
    )


def _content(heads: pd.DataFrame) -> Finding:
    """Pearson's r of variability and KL over heads, for each task, compared with that of the random prompt."""
    shown, found = [], {}
    for task, table in heads.groupby("task", sort=False):
        r = {name: pearsonr(rows["variability"], rows["attention_kl"]) for name, rows in table.groupby("prompt")}
        value, p, null = float(r["v2"].statistic), float(r["v2"].pvalue), float(r[NULL].statistic)
        found[str(task)] = (value, p, null)
        shown.append(f"{task} r = {signed(value)} (p = {p:.2g}; random prompt {signed(null)})")
    task, (value, p, null) = max(found.items(), key=lambda item: abs(item[1][0]))
    clear = sum(p < LEVEL for _, p, _ in found.values())
    return Finding(
        "content",
        "Does v2 move the heads that look at content? Over heads, variability of the frozen model and KL correlate, "
        + "; ".join(shown)
        + f". p is below {LEVEL} for {clear} of {len(found)} tasks.",
        f"Pearson's r of variability and KL over heads ({task}, v2)",
        f"r = {signed(value)}",
        f"p = {p:.2g}; random prompt {signed(null)}",
        1 + max(abs(value) - abs(null), 0.0) if p < LEVEL else 0.0,
    )


def _same(heads: pd.DataFrame) -> Finding:
    """Whether v2 prompts of different tasks change attention in the same heads, beyond what any prompt changes.

    Mean correlation over pairs of tasks of the maps KL(v2) - KL(random prompt of the same norms).
    """
    wide = heads.pivot_table(index=["layer", "head"], columns=["prompt", "task"], values="attention_kl", sort=False)
    learnt = (wide["v2"] - wide[NULL]).to_numpy()  # (head, task)
    n_pairs = learnt.shape[1] * (learnt.shape[1] - 1) // 2

    def similarity(first: np.ndarray, others: np.ndarray) -> float:
        table = np.corrcoef(np.column_stack([first, others]).T)
        return float(table[np.triu_indices_from(table, 1)].mean())

    # Heads are permuted independently in each task, so that heads of two tasks no longer correspond.
    generator = np.random.default_rng(0)
    r = similarity(learnt[:, 0], learnt[:, 1:])
    null = [similarity(shuffled[:, 0], shuffled[:, 1:]) for shuffled in _shuffles(learnt, generator)]
    p = (1 + sum(abs(value) >= abs(r) for value in null)) / (1 + len(null))
    verdict = "in part, they move the same heads" if r > 0 and p < LEVEL else "they need not move the same heads"
    return Finding(
        "same",
        f"What v2 moves beyond a random prompt correlates between tasks, over heads, with r = {signed(r)} (mean of "
        f"{n_pairs} pair{'' if n_pairs == 1 else 's'} of tasks, permutation p = {p:.2g}): {verdict}.",
        "correlation between tasks of what v2 moves beyond a random prompt",
        f"r = {signed(r)}",
        f"{n_pairs} pair{'' if n_pairs == 1 else 's'} of tasks, p = {p:.2g}",
        1.5 + abs(r) if p < LEVEL else 0.0,
    )


def _shuffles(maps: np.ndarray, generator: np.random.Generator, n: int = 1000) -> Iterator[np.ndarray]:
    for _ in range(n):
        yield generator.permuted(maps, axis=0)


def points(share: float) -> str:
    """Write a difference of shares in percentage points.

    >>> points(-0.04)
    '−4'
    """
    return "0" if abs(share) < 0.005 else f"{100 * share:+.0f}".replace("-", "−")


def signed(r: float) -> str:
    """Write a correlation with a true minus sign."""
    return f"{r:.2f}".replace("-", "−")


def holm(p_values: np.ndarray) -> np.ndarray:
    """Correct p-values for their number (Holm 1979).

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(np.maximum.accumulate(factors * p_values[order]), 1.0)
    return corrected
