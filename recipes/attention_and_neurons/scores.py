"""How well every prompt solves its task, compared with the frozen model and random prompts of the same norms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

import promptscope as ps
from recipes.attention_and_neurons.generated import as_labels, score_labels, written
from recipes.attention_and_neurons.settings import Settings
from recipes.attention_and_neurons.training import Key
from recipes.common import Computed, decided_by, identity_of

FROZEN = "frozen"


@dataclass(frozen=True)
class Scored:
    """The answers of every prompt, and their scores.

    - `table`: one line for every task, variant, seed, way of answering (`by`) and metric; `random v1` is a random
      prompt of the norms of v1. `likelihood`: the likeliest of the labels; `generated`: text that the model writes.
    - `predictions`: (task, variant, seed) -> one answer for each of the first records of the test split: the likeliest
      label, or text where the task has no labels.
    """

    table: pd.DataFrame
    predictions: dict[Key, list[str]]


def score_runs(
    settings: Settings, model: ps.HookedModel, tasks: Mapping[str, ps.Task], runs: Mapping[Key, ps.Run], out: Path
) -> Scored:
    """Answer the test split of each task with every prompt.

    Answers are kept in a file for each prompt, and computed again only for another prompt or other records.
    """
    rows, predictions = [], {}
    answers_of, identity = Computed(out), identity_of(model)
    for name, task in tasks.items():
        wanted: dict[tuple[str, int], Callable[[], ps.Prompt] | None] = {(FROZEN, settings.seeds[0]): None}
        for (run_task, variant, seed), run in runs.items():
            if run_task == name:
                wanted[variant, seed] = _trained(run)
                wanted[f"random {variant}", seed] = _random(run, seed)
        for (variant, seed), make in wanted.items():
            prompt = None if make is None else make()
            for by, answer in _WAYS.items() if task.verbalizer is not None else [("generated", _predicted)]:
                answers = answers_of.get(
                    f"{name}-{variant.replace(' ', '-')}-{seed}-{by}",
                    decided_by(identity, prompt, task, scored=settings.scored),
                    partial(answer, settings, model, task, prompt),
                )
                if by == "likelihood" or task.verbalizer is None:
                    predictions[name, variant, seed] = answers
                scores = task.score(answers, "test") if task.verbalizer is None else score_labels(task, answers)
                scores["n"] = len(answers)
                rows += [(name, task.language, variant, seed, by, metric, score) for metric, score in scores.items()]
    columns = ["task", "language", "variant", "seed", "by", "metric", "score"]
    return Scored(pd.DataFrame(rows, columns=columns), predictions)


def scored_by(scores: pd.DataFrame, by: str) -> pd.DataFrame:
    """Return the scores of answers given in one way; for tasks that have another way only, the scores of that one."""
    return scores[(scores["by"] == by) | (scores.groupby("task")["by"].transform("nunique") == 1)]


def first_metric(scores: pd.DataFrame, tasks: Mapping[str, ps.Task]) -> pd.DataFrame:
    """Return the scores of each task's first metric, in percent, mean over seeds: a row per task, a column per variant.

    *scores* has to be of one way of answering: see `scored_by`.
    """
    metrics = {name: main_metric(task) for name, task in tasks.items()}
    chosen = scores[scores["metric"] == scores["task"].map(metrics)]
    table = chosen.pivot_table(index="task", columns="variant", values="score", sort=False) * 100
    return table.reindex(index=list(tasks))


def main_metric(task: ps.Task) -> str:
    """Return the name, among a task's scores, of the metric that decides: the paper's first for its own tasks."""
    return {"squad": "squad_f1", "korquad": "korquad_f1"}.get(task.metrics[0], task.metrics[0])


def _predicted(settings: Settings, model: ps.HookedModel, task: ps.Task, prompt: ps.Prompt | None) -> list[str]:
    print(f"score {task.name}", flush=True)
    return ps.predict(model, None if prompt is None else prompt.bind(model), task, limit=settings.scored or None)


def _written(settings: Settings, model: ps.HookedModel, task: ps.Task, prompt: ps.Prompt | None) -> list[str]:
    return as_labels(task, _predicted(settings, model, written(task), prompt))


_WAYS = {"likelihood": _predicted, "generated": _written}


def _trained(run: ps.Run) -> Callable[[], ps.Prompt]:
    return lambda: run.prompt


def _random(run: ps.Run, seed: int) -> Callable[[], ps.Prompt]:
    return lambda: ps.random_like(run.prompt, seed=seed)
