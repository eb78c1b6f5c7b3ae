"""Many prompts over one model: planned by name, trained together, scored once; failed runs are listed in a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

import promptscope as ps
from promptscope.engine import matmul
from promptscope.errors import RunError
from recipes.common.computed import Computed, decided_by, identity_of

FAILED = ("run", "error", "reason")


@dataclass(frozen=True)
class Planned:
    """One run: a variant of a prompt on a task; *group* names the comparison that it is part of.

    *of*: distinguishes runs that are made from different trained prompts; empty if the run is made from none.
    """

    group: str
    variant: str
    task: str
    rate: float
    seed: int
    prompt: ps.Prompt
    data: ps.Task
    config: ps.TrainConfig
    of: str = ""

    @property
    def name(self) -> str:
        """Return the name of the run's folder."""
        words: tuple[str, ...] = (
            self.group,
            self.variant,
            self.task.replace("/", "-"),
            f"{self.rate:g}",
            str(self.seed),
        )
        words += (self.of,) if self.of else ()
        return "_".join(words).replace(" ", "-").replace("*", "x")


def train_planned(
    model: ps.HookedModel, planned: Sequence[Planned], out: Path, rows: int = 64, jobs: int = 0
) -> tuple[dict[str, ps.Run], pd.DataFrame]:
    """Train all that is not finished yet; return the finished runs by name, and a table of what failed.

    All runs share one model; with *jobs* above 0, that many processes train them, each with a model of its own.
    """
    failed: dict[str, Exception] = {}
    lost = pd.DataFrame(columns=list(FAILED))
    if jobs:
        if matmul(model) != "float32":
            raise RunError(
                f"matmul={matmul(model)} applies to this process only, and --jobs {jobs} trains in "
                "other processes: drop one of the two options"
            )
        configs = {one.name: ps.RunConfig(model.name, one.prompt, one.data, one.config) for one in planned}
        many = ps.train_many(configs, out, n_jobs=jobs)
        runs, lost = dict(many.runs), many.failed.set_axis(list(FAILED), axis=1)
    else:
        try:
            runs = ps.train_grid(
                model, {one.name: ps.GridRun(one.prompt, one.data, one.config) for one in planned}, out, rows
            )
        except ps.GridError as error:
            failed |= error.failed
            runs = {one.name: ps.load_run(out / one.name) for one in planned if one.name not in failed}
    for name, run in runs.items():
        try:
            best_prompt(run)
        except ps.PromptscopeError as error:  # its file is damaged, or gone
            failed[name] = error
    rows_of = [(name, type(error).__name__, str(error)) for name, error in failed.items()]
    sound = {name: run for name, run in runs.items() if name not in failed}
    return sound, pd.DataFrame([*lost.itertuples(index=False), *rows_of], columns=list(FAILED))


def best_prompt(run: ps.Run) -> ps.Prompt:
    """Return the prompt with the best validation score, or the last prompt if there was no validation."""
    return run.prompt if run.result.get("best_validation") is None else run.best_prompt


def score_of(model: ps.HookedModel, task: ps.Task, prompt: ps.Prompt | None, limit: int | None) -> float:
    """Return the task's first metric on `test`."""
    return next(iter(ps.evaluate(model, prompt, task, limit=limit, progress=False).values()))


def score_table(
    model: ps.HookedModel, planned: Sequence[Planned], runs: Mapping[str, ps.Run], out: Path, limit: int | None
) -> pd.DataFrame:
    """Return one line for each finished run.

    Columns `group`, `variant`, `task`, `rate`, `seed`, `parameters`; `score`: the task's first metric on `test`, of the
    prompt with the best validation score, which is `validation`; `loss`; `norm_start`, `norm_end`: mean L2 norm of the
    prompt's vectors after the first and the last step.
    """
    kept, identity = Computed(out), identity_of(model)
    lines = []
    for one in planned:
        if one.name not in runs:
            continue
        run = runs[one.name]
        prompt = best_prompt(run)
        test = kept.get(
            one.name,
            decided_by(identity, prompt, one.data, limit=limit),
            partial(ps.evaluate, model, prompt, one.data, limit=limit, progress=False),
        )
        history = run.history
        metric = next(iter(test))
        validation = history.get(f"validation_{metric}", pd.Series(dtype=float)).max()
        norms = history["prompt_norm"].iloc[[0, -1]].tolist()
        lines.append(
            (one.group, one.variant, one.task, one.rate, one.seed, prompt.n_parameters, test[metric], validation,
             test["loss"], *norms)
        )  # fmt: skip
    columns = ["group", "variant", "task", "rate", "seed", "parameters", "score", "validation", "loss"]
    return pd.DataFrame(lines, columns=[*columns, "norm_start", "norm_end"])


def at_own_best_rate(scores: pd.DataFrame) -> pd.DataFrame:
    """Return, for each variant and task, the lines of the rate with the best mean validation score.

    Among equal scores, the lowest rate is chosen. Test scores play no part in the choice.

    >>> lines = [("a", "t", 0.1, 0, 0.5, 0.9), ("a", "t", 0.3, 0, 0.6, 0.1)]
    >>> table = pd.DataFrame(lines, columns=["variant", "task", "rate", "seed", "validation", "score"])
    >>> at_own_best_rate(table)["rate"].tolist()
    [0.3]
    """
    chosen = []
    for _, part in scores.groupby(["variant", "task"], sort=False):
        means = part.groupby("rate")["validation"].mean().sort_index()
        best = means.index[int(np.argmax(means.to_numpy()))] if means.notna().any() else part["rate"].max()
        chosen.append(part[part["rate"] == best])
    return pd.concat(chosen, ignore_index=True) if chosen else scores


def paired(scores: pd.DataFrame, first: str, second: str, task: str, column: str = "score") -> list[float]:
    """Return `first - second` of one task by seed, for the seeds that both variants have.

    >>> lines = [("a", "t", 0, 0.9), ("b", "t", 0, 0.4), ("a", "t", 1, 0.5)]
    >>> paired(pd.DataFrame(lines, columns=["variant", "task", "seed", "score"]), "a", "b", "t")
    [0.5]
    """
    of_task = scores[scores["task"] == task]
    a, b = (of_task[of_task["variant"] == name].groupby("seed")[column].mean() for name in (first, second))
    return (a - b).dropna().tolist()


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """Return mean and standard deviation over seeds by group, variant, task and rate."""
    by = ["group", "variant", "task", "rate"]
    table = scores.groupby(by, sort=False).agg(
        score=("score", "mean"), score_std=("score", "std"), norm=("norm_end", "mean"), seeds=("seed", "nunique"),
        parameters=("parameters", "first"),
    )  # fmt: skip
    return table.reset_index()
