"""Other methods than prompts on the same tasks: trained on copies of the model, scored once, kept in files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import promptscope as ps
from promptscope.errors import PromptscopeError
from recipes.common.computed import Computed, decided_by, identity_of
from recipes.common.grids import FAILED

COLUMNS = ("variant", "task", "seed", "parameters", "score", "validation", "loss")


def baseline_table(
    model: ps.HookedModel,
    tasks: Mapping[str, ps.Task],
    methods: Sequence[str],
    configs: Mapping[int, ps.TrainConfig],
    out: Path,
    limit: int | None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the test scores of other methods, and what failed; *configs* by seed. The model does not change."""
    kept, identity = Computed(out), identity_of(model)
    lines, failed = [], []
    for method in methods:
        for name, task in tasks.items():
            for seed, config in configs.items():
                key = decided_by(
                    identity, None, task, limit=limit, train=task.data_hash("train"), config=config.to_json()
                )

                def compute(method: str = method, task: ps.Task = task, config: ps.TrainConfig = config) -> Any:
                    tuned = ps.train_baseline(model, method, task, config)
                    scores = ps.evaluate(tuned.model, tuned.prompt, task, limit=limit, progress=False)
                    validation = tuned.history["validation"].max() if "validation" in tuned.history else None
                    return [tuned.n_parameters, next(iter(scores.values())), validation, scores["loss"]]

                try:
                    lines.append((method, name, seed, *kept.get(f"{method}-{name}-{seed}", key, compute)))
                except PromptscopeError as error:
                    failed.append((f"{method}_{name}_{seed}", type(error).__name__, str(error)))
    return pd.DataFrame(lines, columns=list(COLUMNS)), pd.DataFrame(failed, columns=list(FAILED))
