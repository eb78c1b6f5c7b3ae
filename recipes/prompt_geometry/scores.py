"""Figures 1 and 2: test accuracy and loss along training, computed once for each run and kept with it."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

import promptscope as ps
from recipes.common import Computed, decided_by, identity_of
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
    rows, scores, identity = [], Computed(folder), identity_of(model)
    for (task, word), run in runs.items():
        along = prompts_along(run)

        def compute(task: str = task, along: Mapping[int, ps.Prompt] = along) -> dict[str, list[float]]:
            return {str(step): _score(model, tasks[task], prompt, settings) for step, prompt in along.items()}

        kept = scores.get(
            f"{task}-{word}",
            decided_by(
                identity,
                run.prompt,
                tasks[task],
                limit=settings.scored,
                snapshots=[[step, prompt.content_hash()] for step, prompt in along.items()],
                padding=[settings.padding, settings.batch_size] if settings.padding == "left" else [],
            ),
            compute,
        )
        rows += [(task, word, int(step), *values) for step, values in kept.items()]
    return pd.DataFrame(rows, columns=["task", "word", "step", "accuracy", "loss"])


def frozen_scores(model: ps.HookedModel, tasks: Mapping[str, ps.Task], settings: Settings) -> pd.DataFrame:
    """Return accuracy and loss of the model without a prompt."""
    rows = [(name, *_score(model, task, None, settings)) for name, task in tasks.items()]
    return pd.DataFrame(rows, columns=["task", "accuracy", "loss"])


def _score(model: ps.HookedModel, task: ps.Task, prompt: ps.Prompt | None, settings: Settings) -> list[float]:
    scores = ps.evaluate(
        model,
        prompt,
        task,
        split="test",
        batch_size=settings.batch_size if settings.padding == "left" else 32,
        limit=settings.scored or None,
        max_new_tokens=MAX_NEW_TOKENS,
        padding=settings.padding,
        progress=False,
    )
    return [scores["starts_with"], scores["loss"]]
