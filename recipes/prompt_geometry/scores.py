"""Figures 1 and 2: test accuracy and loss along training, computed once for each run and kept beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

import promptscope as ps
from promptscope.files import content_hash, read_json, write_json
from recipes.prompt_geometry.settings import Settings

MAX_NEW_TOKENS = 5  # section 2.4


def prompts_along(run: ps.Run) -> dict[int, ps.Prompt]:
    """Return the snapshots and the last prompt, by step."""
    return {**run.snapshots, int(run.result["steps"]): run.prompt}


def score_runs(
    model: ps.HookedModel,
    tasks: Mapping[str, ps.Task],
    runs: Mapping[tuple[str, str], ps.Run],
    settings: Settings,
    folder: Path,
) -> pd.DataFrame:
    """Return `task`, `word`, `step`, `accuracy` and `loss` (nats per label token) on the test split.

    Correct = the greedy continuation of at most five tokens starts with the label; step 0 is the untrained prompt. What
    *folder* holds already is not computed again.
    """
    rows = []
    for (task, word), run in runs.items():
        limit = settings.scored or None
        asked: dict[str, Any] = {"limit": limit, "test": tasks[task].data_hash("test"), "steps": run.result["steps"]}
        if settings.padding == "left":
            asked["padding"] = settings.batch_size
        path = folder / f"{task}-{word}.json"
        key = content_hash(asked | {"prompt": run.prompt.content_hash()})
        kept: dict[str, Any] = read_json(path) if path.is_file() else {}
        if kept.get("key") != key:
            scores = {
                str(step): _score(model, tasks[task], prompt, settings) for step, prompt in prompts_along(run).items()
            }
            kept = {"key": key, "scores": scores}
            write_json(path, kept)
        rows += [(task, word, int(step), *values) for step, values in kept["scores"].items()]
    return pd.DataFrame(rows, columns=["task", "word", "step", "accuracy", "loss"])


def frozen_scores(model: ps.HookedModel, tasks: Mapping[str, ps.Task], settings: Settings) -> pd.DataFrame:
    """Return the same of the model without a prompt."""
    rows = [(name, *_score(model, task, None, settings)) for name, task in tasks.items()]
    return pd.DataFrame(rows, columns=["task", "accuracy", "loss"])


def _score(model: ps.HookedModel, task: ps.Task, prompt: ps.Prompt | None, settings: Settings) -> list[float]:
    scores = ps.evaluate(
        model,
        task,
        prompt,
        "test",
        # Where padding moves texts, scores depend on who is in a batch: the authors' batches are those of training.
        batch_size=settings.batch_size if settings.padding == "left" else 32,
        limit=settings.scored or None,
        max_new_tokens=MAX_NEW_TOKENS,
        padding=settings.padding,
        progress=False,
    )
    return [scores["starts_with"], scores["loss"]]
