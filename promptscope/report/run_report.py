"""`promptscope report`: the course of training runs, and the scores of their prompts."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from promptscope.checks import checked
from promptscope.errors import PromptscopeError, TaskError, nearest
from promptscope.inference import evaluate
from promptscope.models import HookedModel
from promptscope.report.report import Report
from promptscope.report.run_figures import learning_curves, norm_curves, validation_curves
from promptscope.training import Run
from promptscope.training.reload import reload_model, reload_task


@checked(limit=1)
def run_report(
    runs: Sequence[Run | str | os.PathLike[str]],
    title: str = "Runs",
    split: str | None = "test",
    limit: int | None = None,
) -> Report:
    """Make a page about training runs: settings, learning curves, scores with and without the prompt, norms.

    Args:
        runs: finished runs, or their folders.
        title: of the page.
        split, limit: scores are over the first *limit* records of this split (None: all); *split* None leaves scores
            out.

    A run whose model or task cannot be loaded is named in the text and not scored.

    Raises:
        RunError: a folder is not a finished run.

    >>> import tempfile, promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = ps.train(model, ps.SoftPrompt(2), task, ps.TrainConfig(steps=2, batch_size=2), folder, progress=False)
    ...     page = run_report([run], split=None).html()
    >>> "continent_en" in page
    True
    """
    named = _named([run if isinstance(run, Run) else Run(run) for run in runs])
    histories = {name: run.history for name, run in named.items()}
    page = Report(title, f"{len(named)} soft prompt{'' if len(named) == 1 else 's'}, trained on frozen models.")
    if split is not None:
        _scores(page, named, split, limit)
    page.section("Learning").figure(learning_curves(histories))
    validation = validation_curves(histories)
    if validation is not None:
        page.figure(validation)
    page.section("Norms").text(
        "Mean L2 norm of the prompt's vectors over positions and layers (of deep prompts, over keys "
        "and values), after each step."
    ).figure(norm_curves(histories))
    page.section("Settings").table(_settings(named))
    for name, run in named.items():
        there = run.description
        page.provenance(
            {
                name: {
                    "model": there["model"],
                    "task": {key: there["task"][key] for key in ("name", "data_hash")},
                    "seeds": {"prompt": run.prompt.provenance.get("seed"), "training": run.config.seed},
                    "prompt": run.prompt.content_hash(),
                    "versions": run.result["versions"],
                }
            }
        )
    return page


def _named(runs: Sequence[Run]) -> dict[str, Run]:
    """Name runs by their folders, with as many parent folders as are needed to make names unique."""
    paths = [run.folder.resolve() for run in runs]
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(set(paths)):
        depth += 1
    return {str(Path(*path.parts[-depth:])): run for path, run in zip(paths, runs, strict=True)}


def _scores(page: Report, runs: dict[str, Run], split: str, limit: int | None) -> None:
    models: dict[str, HookedModel] = {}
    frozen: dict[tuple[str, str], dict[str, float]] = {}
    rows: list[dict[str, Any]] = []
    missing: list[str] = []
    without_split: list[PromptscopeError] = []
    for name, run in runs.items():
        about = run.description
        try:
            task = reload_task(run)
            if split not in task.splits:
                without_split.append(TaskError(f"{task.name!r} has no split {split!r}.{nearest(split, task.splits)}"))
            key = f"{about['model']['source']} {about['model']['dtype']}"
            model = models[key] = models.get(key) or reload_model(run)
            options: dict[str, Any] = {"split": split, "limit": limit, "max_length": run.config.max_length}
            score = evaluate(model, run.prompt, task, **options)
            pair = (key, f"{about['task']} {run.config.max_length}")
            frozen[pair] = plain = frozen.get(pair) or evaluate(model, None, task, **options)
        except PromptscopeError as error:
            missing.append(f"{name} was not scored: {error}")
            continue
        metric = next(iter(score))
        rows.append(
            {
                "run": name,
                "task": task.name,
                "records": int(score["n"]),
                "metric": metric,
                "frozen model": plain[metric],
                "prompt": score[metric],
                "gain": f"{score[metric] - plain[metric]:+.3f}",
                "loss, frozen": plain["loss"],
                "loss, prompt": score["loss"],
            }
        )
    if without_split and not rows:  # nobody has it: it is a mistake, not a gap of one run
        raise without_split[0]
    page.section(f"Scores on {split}")
    if rows:
        first = f"the first {limit} records of {split}" if limit else f"all records of {split}"
        page.table(pd.DataFrame(rows), f"Over {first}. Metrics: higher is better; loss: lower is better.")
    if missing:
        page.bullets(*missing)


def _settings(runs: dict[str, Run]) -> pd.DataFrame:
    rows = []
    for name, run in runs.items():
        about, result = run.description, run.result
        rows.append(
            {
                "run": name,
                "model": about["model"]["name"],
                "task": about["task"]["name"],
                "prompt": about["prompt"]["type"],
                "length": about["prompt"]["settings"]["length"],
                "parameters": result["n_parameters"],
                "steps": result["steps"],
                "learning rate": f"{run.config.learning_rate:g}",
                "seed": run.config.seed,
                "final loss": result["final_loss"],
                "seconds": round(result["seconds"]),
            }
        )
    return pd.DataFrame(rows)
