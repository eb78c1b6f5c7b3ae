"""What a preset would train, before any model is loaded."""

from collections.abc import Mapping

import pandas as pd

import promptscope as ps
from recipes.common.plans import counts
from recipes.token_splitting.plans import make_plans
from recipes.token_splitting.settings import Settings
from recipes.token_splitting.tasks import n_scored
from recipes.token_splitting.training import train_config


def plan_table(settings: Settings, tasks: Mapping[str, ps.Task]) -> pd.DataFrame:
    """Return one line for each task: records by label, prompts, their steps, and texts that pass models in a step.

    `batch_size` counts a text once for each model that shares the prompt, mean over steps.
    """
    rows = []
    for name, task in tasks.items():
        n, plans = len(task.split("train")), make_plans(settings, name)
        configs = [train_config(settings, plan) for plan in plans]
        steps = [config.n_steps(n) for config in configs]
        size = configs[0].batch_size * configs[0].accumulation
        passed = sum(count * len(plan.models) for count, plan in zip(steps, plans, strict=True)) * size / sum(steps)
        scored = counts(task, "test", n_scored(name, settings))
        rows.append((name, counts(task, "train"), scored, size, configs[0].batch_size, len(plans), sum(steps), passed))
    columns = ["task", "train", "scored", "records_a_step", "micro_batch", "runs", "all_steps", "batch_size"]
    return pd.DataFrame(rows, columns=columns)
