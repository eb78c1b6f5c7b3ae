"""Models of different pre-training objectives, each with plain answers and with answers after a sentinel."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

import promptscope as ps
from recipes.common.grids import score_table, train_planned
from recipes.power_of_scale.plan import Tasks, plan
from recipes.power_of_scale.sentinel import sentinel_of, with_sentinel
from recipes.power_of_scale.settings import Settings

COLUMNS = ("objective", "model", "target", "task", "seed", "score", "loss")


def objective_table(settings: Settings, tasks: Tasks, out: Path, rows: int) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """Return the test scores by objective and form of the answer, and what failed."""
    parts, failed = [], []
    one = replace(settings, lengths=(settings.length,), starts=())
    for objective, name in settings.objectives:
        model = ps.load_model(name)
        sentinel = sentinel_of(model.tokenizer)
        forms = {"plain": dict(tasks)}
        if sentinel is not None:
            forms["sentinel"] = {task: with_sentinel(of, sentinel) for task, of in tasks.items()}
        for target, given in forms.items():
            where = out / f"{objective.replace(' ', '-')}-{target}"
            planned = plan(one, given)["lengths"]
            runs, lost = train_planned(model, planned, where / "runs", rows)
            failed.append(lost)
            scores = score_table(model, planned, runs, where / "scores", settings.scored or None)
            parts.append(scores.assign(objective=objective, model=name, target=target))
    table = pd.concat(parts, ignore_index=True)[list(COLUMNS)] if parts else pd.DataFrame(columns=list(COLUMNS))
    return table, failed
