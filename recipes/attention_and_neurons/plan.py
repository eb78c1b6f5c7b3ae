"""What a preset would train, known before any training: records, steps, passes."""

from collections.abc import Mapping

import pandas as pd

import promptscope as ps
from recipes.attention_and_neurons.ablation import GROUPS
from recipes.attention_and_neurons.probing import VARIANTS
from recipes.attention_and_neurons.settings import Settings
from recipes.attention_and_neurons.training import train_config
from recipes.common.plans import in_words


def plan_table(settings: Settings, tasks: Mapping[str, ps.Task]) -> pd.DataFrame:
    """Return one line for each task: records, steps of a run, runs, and the steps of all of them.

    Records that are too long (`longest`) are still counted, as only the model's tokenizer can tell which they are.
    """
    variants = [*VARIANTS, *(GROUPS if settings.ablation else ())]
    rows = []
    for name, task in tasks.items():
        n, scored = len(task.split("train")), len(task.split("test"))
        n = min(n, settings.train_limit or n)
        config = train_config(settings, name, VARIANTS[0], settings.seeds[0])
        steps = config.n_steps(n)
        runs = len(variants) * len(settings.seeds)
        rows.append((name, n, min(scored, settings.scored or scored), config.batch_size, steps, runs, steps * runs))
    table = pd.DataFrame(rows, columns=["task", "train", "scored", "batch_size", "steps", "runs", "all_steps"])
    return table


def describe_plan(table: pd.DataFrame) -> str:
    """Return the plan in words, with its sums."""
    return f"{in_words(table)}; the seeds of a variant share their passes (--rows)"
