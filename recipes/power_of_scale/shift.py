"""Domain shift: trained on one data set, scored on another without training; prompts and full fine-tuning."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import promptscope as ps
from recipes.common import Computed, decided_by, identity_of
from recipes.common.grids import Planned, best_prompt, score_of
from recipes.power_of_scale.plan import train_config
from recipes.power_of_scale.settings import Settings

COLUMNS = ("source", "target", "seed", "method", "at_home", "shifted")


def shift_table(
    model: ps.HookedModel,
    tasks: Mapping[str, ps.Task],
    planned: Sequence[Planned],
    runs: Mapping[str, ps.Run],
    settings: Settings,
    out: Path,
) -> pd.DataFrame:
    """Return the score on the data set that was trained on, and on the other one, by method and seed."""
    limit, lines = settings.scored or None, []
    kept, identity = Computed(out), identity_of(model)
    for source, target in settings.shifts:
        for seed in settings.seeds:
            run = next(
                (o for o in planned if (o.group, o.task, o.seed) == ("shift", source, seed) and o.name in runs), None
            )
            if run is not None:
                prompt = best_prompt(runs[run.name])
                scores = [score_of(model, tasks[name], prompt, limit) for name in (source, target)]
                lines.append((source, target, seed, "prompt tuning", *scores))
            config = train_config(settings, settings.baseline_rate, seed)
            settled = {"to": tasks[target].data_hash("test"), "train": tasks[source].data_hash("train")}
            key = decided_by(identity, None, tasks[source], limit=limit, config=config.to_json(), **settled)

            def tuned(source: str = source, target: str = target, config: ps.TrainConfig = config) -> Any:
                trained = ps.train_baseline(model, "fine-tuning", tasks[source], config)
                return [score_of(trained.model, tasks[name], trained.prompt, limit) for name in (source, target)]

            scores = kept.get(f"{source}-{target}-{seed}", key, tuned)
            lines.append((source, target, seed, "fine-tuning", *scores))
    return pd.DataFrame(lines, columns=list(COLUMNS))
