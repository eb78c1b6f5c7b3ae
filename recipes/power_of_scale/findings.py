"""The paper's claims by task, then over tasks."""

import numpy as np
import pandas as pd

from recipes.common import Finding, Number, absent, judge, over_tasks
from recipes.common.grids import paired
from recipes.common.verdicts import mean_with_interval

MEASURED = (
    ("cosine", "prompt vectors lie nearer to words than random vectors", 1),
    ("label_rate", "class labels are among the nearest words more often than of random vectors", 1),
    ("shared", "vectors of a prompt share neighbours more than random ones", 1),
    ("rank", "vectors of a prompt use fewer directions than random ones", -1),
)


def findings(
    scores: pd.DataFrame, readings: pd.DataFrame, votes: pd.DataFrame, shifts: pd.DataFrame, objectives: pd.DataFrame
) -> list[Finding]:
    """Return every claim; one that these runs cannot decide has the verdict "not measured"."""
    lengths, starts = scores[scores["group"] == "lengths"], scores[scores["group"] == "starts"]
    tasks = list(scores["task"].unique())
    known = sorted(lengths["variant"].unique(), key=int)
    found: list[Finding] = []

    def add(by_task: list[Finding]) -> None:
        found.extend([*by_task, over_tasks(by_task)])

    claim = "more tokens than one help"
    if len(known) > 1:
        meaning = f"test score, {known[-1]} tokens less {known[0]}, paired by seed"
        add([judge(claim, "3.2", t, _over(paired(lengths, known[-1], known[0], t)), meaning) for t in tasks])
    else:
        found.append(absent(claim, "3.2", "all", "needs two lengths (settings.lengths)"))
    labelled = [t for t in tasks if ((starts["task"] == t) & (starts["variant"] == "labels")).any()]
    claim = "class labels are the best initialisation"
    others = [name for name in ("uniform", "vocab") if (starts["variant"] == name).any()]
    if labelled and others:
        meaning = f"test score, labels less the better of {' and '.join(others)}, by seed"
        add([judge(claim, "3.2", t, _over(_labels_less_best(starts, others, t)), meaning) for t in labelled])
    else:
        reason = "no task has label words that fit the prompt" if others else "needs other initialisations"
        found.append(absent(claim, "3.2", "all", reason))
    for measure, claim, sign in MEASURED:
        # A prompt that starts at words is near them without training: only the uniform start shows what training does.
        part = readings[(readings["measure"] == measure) & (readings["start"] == "uniform")].dropna(subset=["value"])
        meaning = f"{measure} of trained prompts less that of random ones of the same norms, by seed; sign: the claim's"
        by_task = [
            judge(claim, "7", str(task), _over(sign * (of["value"] - of["random"])), meaning)
            for task, of in part.groupby("task", sort=False)
        ]
        if by_task:
            add(by_task)
    meaning = "test score, vote less mean member"
    claim = "an ensemble beats its mean member"
    if len(votes):
        add([judge(claim, "6", v.task, Number(float(v.gain)), meaning) for v in votes.itertuples()])
    else:
        found.append(absent(claim, "6", "all", "no ensembles were trained (settings.members)"))
    if len(shifts):
        pairs = shifts.assign(pair=shifts["source"] + " -> " + shifts["target"])
        claim, meaning = "prompts survive a shift better than fine-tuning", "zero-shot score on the target, by seed"
        by_task = []
        for pair, part in pairs.groupby("pair", sort=False):
            table = part.pivot(index="seed", columns="method", values="shifted")
            gain = (table["prompt tuning"] - table["fine-tuning"]).dropna() if table.shape[1] == 2 else []
            by_task.append(judge(claim, "5", str(pair), _over(gain), meaning))
        add(by_task)
    names = set(objectives["objective"]) if len(objectives) else set()
    claim = "LM adaptation makes a model better to prompt than span corruption"
    if {"span corruption", "LM adaptation"} <= names:
        plain = objectives[objectives["target"] == "plain"]
        by_task = []
        for name, of in plain.groupby("task", sort=False):
            table = of.pivot(index="seed", columns="objective", values="score")
            gain = (table["LM adaptation"] - table["span corruption"]).dropna()
            by_task.append(judge(claim, "3.2", str(name), _over(gain), "test score, paired by seed"))
        add(by_task)
    else:
        found.append(
            absent(claim, "3.2", "all", "needs models of both objectives (settings.objectives); none are named")
        )
    return found


def _labels_less_best(starts: pd.DataFrame, others: list[str], task: str) -> list[float]:
    """Return, for each seed that all starts have, the score of label words minus the best score of the *others*."""
    wide = starts[starts["task"] == task].pivot_table(index="seed", columns="variant", values="score")
    known = wide.reindex(columns=["labels", *others]).dropna()
    return (known["labels"] - known[others].max(axis=1)).tolist()


def _over(values: list[float] | pd.Series) -> Number:
    return Number(*mean_with_interval(np.asarray(values, dtype=float)))
