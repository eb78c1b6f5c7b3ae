"""How well every prompt solves its task, beside the frozen model and random prompts of the same norms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

import promptscope as ps
from recipes.attention_and_neurons.settings import Settings
from recipes.attention_and_neurons.training import Key
from recipes.common import Computed, decided_by, identity_of

FROZEN = "frozen"


@dataclass(frozen=True)
class Scored:
    """What every prompt answered, and the scores of it.

    - `table`: one line for every task, variant, seed and metric; `random v1` is a random prompt of the norms of v1.
    - `predictions`: (task, variant, seed) -> one answer for each of the first records of the test split.
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
            answers = answers_of.get(
                f"{name}-{variant.replace(' ', '-')}-{seed}",
                decided_by(identity, prompt, task, scored=settings.scored),
                partial(_answers, settings, model, task, prompt),
            )
            predictions[name, variant, seed] = answers
            scores = task.score(answers, "test") | {"n": len(answers)}
            rows += [(name, task.language, variant, seed, metric, score) for metric, score in scores.items()]
    columns = ["task", "language", "variant", "seed", "metric", "score"]
    return Scored(pd.DataFrame(rows, columns=columns), predictions)


def first_metric(scores: pd.DataFrame, tasks: Mapping[str, ps.Task]) -> pd.DataFrame:
    """Return the scores of each task's first metric, in percent, mean over seeds: tasks down, variants across."""
    metrics = {name: main_metric(task) for name, task in tasks.items()}
    chosen = scores[scores["metric"] == scores["task"].map(metrics)]
    table = chosen.pivot_table(index="task", columns="variant", values="score", sort=False) * 100
    return table.reindex(index=list(tasks))


def main_metric(task: ps.Task) -> str:
    """Return the name, among a task's scores, of the metric that decides: the paper's first for its own tasks."""
    return {"squad": "squad_f1", "korquad": "korquad_f1"}.get(task.metrics[0], task.metrics[0])


def _answers(settings: Settings, model: ps.HookedModel, task: ps.Task, prompt: ps.Prompt | None) -> list[str]:
    print(f"score {task.name}", flush=True)
    return ps.predict(model, task, None if prompt is None else prompt.bind(model), limit=settings.scored or None)


def _trained(run: ps.Run) -> Callable[[], ps.Prompt]:
    return lambda: run.prompt


def _random(run: ps.Run, seed: int) -> Callable[[], ps.Prompt]:
    return lambda: ps.random_like(run.prompt, seed=seed)
