"""What a preset would train, before any model is loaded."""

from collections.abc import Mapping

import pandas as pd

import promptscope as ps
from recipes.common.plans import counts
from recipes.prompt_geometry.grid import train_config, wayward_prompts, word_prompts
from recipes.prompt_geometry.settings import Settings


def plan_table(settings: Settings, tasks: Mapping[str, ps.Task]) -> pd.DataFrame:
    """Return one line for each task: records, runs (one for each word, and the wayward one), steps of all of them."""
    names = [task for task, _ in (*word_prompts(settings), *wayward_prompts(settings))]
    rows = []
    for name, task in tasks.items():
        n, runs = len(task.split("train")), names.count(name)
        steps = train_config(settings, n).n_steps(n)
        scored = counts(task, "test", settings.scored or None)
        rows.append((name, n, scored, settings.batch_size, steps, runs, steps * runs))
    return pd.DataFrame(rows, columns=["task", "train", "scored", "batch_size", "steps", "runs", "all_steps"])
