"""The paper's claims by task, then over tasks."""

import numpy as np
import pandas as pd

from recipes.common import Finding, Number, absent, judge, over_tasks
from recipes.common.grids import paired
from recipes.common.verdicts import mean_with_interval


def findings(
    scores: pd.DataFrame, readings: pd.DataFrame, votes: pd.DataFrame, shifts: pd.DataFrame, objectives: pd.DataFrame
) -> list[Finding]:
    """Return every claim; what these runs cannot decide says so."""
    lengths, starts = scores[scores["group"] == "lengths"], scores[scores["group"] == "starts"]
    tasks = list(lengths["task"].unique())
    known = sorted(lengths["variant"].unique(), key=int)
    found: list[Finding] = []

    def add(by_task: list[Finding]) -> None:
        found.extend([*by_task, over_tasks(by_task)])

    one, longest = known[0], known[-1]
    meaning = f"test score, {longest} tokens less {one}, paired by seed"
    add([judge("more tokens than one help", "3.2", t, _over(paired(lengths, longest, one, t)), meaning) for t in tasks])
    labelled = [t for t in tasks if ((starts["task"] == t) & (starts["variant"] == "labels")).any()]
    claim = "class labels are the best initialisation"
    if labelled:
        by_task = []
        for t in labelled:
            rest = [paired(starts, "labels", other, t) for other in ("uniform", "vocab")]
            least = [min(pair) for pair in zip(*rest, strict=True)]
            by_task.append(
                judge(claim, "3.2", t, _over(least), "test score, labels less the better of the others, by seed")
            )
        add(by_task)
    else:
        found.append(absent(claim, "3.2", "all", "no task has label words that fit the prompt"))
    for measure, claim, sign in (
        ("cosine", "prompt vectors lie nearer to words than random vectors", 1),
        ("label_rate", "class labels are among the nearest words more often than of random vectors", 1),
        ("shared", "vectors of a prompt share neighbours more than random ones", 1),
        ("rank", "vectors of a prompt use fewer directions than random ones", -1),
    ):
        for start in readings["start"].unique():
            part = readings[(readings["measure"] == measure) & (readings["start"] == start)].dropna(subset=["value"])
            if part.empty:
                continue
            add([
                judge(f"{claim} (start: {start})", "7", t, _over(sign * (of["value"] - of["random"])), f"{measure}, trained less random, by seed; sign: the claim's")
                for t, of in part.groupby("task", sort=False)
            ])  # fmt: skip
    add([judge("an ensemble beats its mean member", "6", v.task, Number(float(v.gain)), "test score, vote less mean member") for v in votes.itertuples()])  # fmt: skip
    if len(shifts):
        loss = shifts.assign(
            lost=shifts["at_home"] - shifts["shifted"], pair=shifts["source"] + " -> " + shifts["target"]
        )
        by_pair = []
        for pair, part in loss.groupby("pair", sort=False):
            table = part.pivot(index="seed", columns="method", values="shifted")
            both = {"prompt tuning", "fine-tuning"} <= set(table)
            values = (table["prompt tuning"] - table["fine-tuning"]).dropna() if both else []
            by_pair.append(
                judge(
                    "prompts are more robust to a shift than fine-tuning",
                    "5",
                    str(pair),
                    _over(values),
                    "zero-shot score on the target, prompt less fine-tuning",
                )
            )
        add(by_pair)
    names = set(objectives["objective"]) if len(objectives) else set()
    claim = "LM adaptation makes a model better to prompt than span corruption"
    if {"span corruption", "LM adaptation"} <= names:
        by_task = []
        for t in objectives["task"].unique():
            part = objectives[(objectives["task"] == t) & (objectives["target"] == "plain")].pivot(
                index="seed", columns="objective", values="score"
            )
            by_task.append(
                judge(
                    claim,
                    "3.2",
                    str(t),
                    _over((part["LM adaptation"] - part["span corruption"]).dropna()),
                    "test score, paired by seed",
                )
            )
        add(by_task)
    else:
        found.append(
            absent(claim, "3.2", "all", "needs models of both objectives (settings.objectives); none are named")
        )
    return found


def _over(values: list[float] | pd.Series) -> Number:
    return Number(*mean_with_interval(np.asarray(values, dtype=float)))
