"""Prompt mixing: half of the tokens of a prompt for one model, and half of one for another (section 6.2)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

import promptscope as ps
from promptscope.files import content_hash
from promptscope.inference import ModelSet, ModelSource
from promptscope.interventions import mix
from promptscope.statistics import random_choice
from recipes.common import Computed, decided_by
from recipes.token_splitting.measuring import Measured
from recipes.token_splitting.settings import Settings
from recipes.token_splitting.tasks import n_scored

COLUMNS = ["task", "from", "and", "model", "prompt", "draw", "loss", "accuracy"]


def mixing_table(
    settings: Settings,
    models: Mapping[str, ModelSource],
    task_name: str,
    task: ps.Task,
    measured: Mapping[str, Measured],
    runs: Mapping[str, ps.Run],
    identities: Mapping[str, str],
    folder: Path,
) -> pd.DataFrame:
    """Mix the prompts of consecutive single models, and score the mixture on both; kept in a file.

    Of two prompts `p` (for model a) and `q` (for b), half of the positions are q's: those that are more important to b
    in q than to a in p, each as a share of its model's total importance. Compared with: positions drawn at random, the
    two whole prompts, and the prompt that was trained on exactly these two models, if there is one.
    """
    singles = [one for one in measured.values() if one.plan.kind == "1" and one.plan.task == task_name]
    pairs = list(zip(singles, [*singles[1:], singles[0]], strict=True))[: len(singles) - (len(singles) == 2)]
    joint = {one.names: one for one in measured.values() if one.plan.kind == "2" and one.plan.task == task_name}
    mixed = {one.plan.name: runs[one.plan.name].prompt.content_hash() for one in [*singles, *joint.values()]}
    scored = n_scored(task_name, settings)

    def compute() -> list[list[object]]:
        rows: list[list[object]] = []
        for a, b in pairs:
            both = {name: models[name] for name in (a.names[0], b.names[0])}
            prompts = _mixtures(settings, a, b, runs)
            together = joint.get(tuple(sorted(both, key=list(models).index)))
            if together is not None:
                prompts.append(("joint", 0, runs[together.plan.name].prompt))
            rows += _scored(both, task_name, task, prompts, n_scored(task_name, settings))
        return rows

    about = decided_by(identities, None, task, prompts=mixed, scored=scored, draws=settings.draws)
    return pd.DataFrame(Computed(folder).get(f"{task_name}_mixing", about, compute), columns=COLUMNS)


def taken_tokens(mine: Float[np.ndarray, "k"], other: Float[np.ndarray, "k"]) -> Int[np.ndarray, "n"]:
    """Return the half of the positions that are more important in the other prompt, as shares of total importance.

    >>> taken_tokens(np.array([3.0, 1.0, 0.0, 0.0]), np.array([0.0, 0.1, 0.1, 0.2])).tolist()
    [2, 3]
    """
    shares = [np.maximum(values, 0) / max(float(np.maximum(values, 0).sum()), 1e-12) for values in (mine, other)]
    order = np.argsort(shares[0] - shares[1], kind="stable")
    return np.sort(order[: len(mine) // 2])


def _mixtures(
    settings: Settings, a: Measured, b: Measured, runs: Mapping[str, ps.Run]
) -> list[tuple[str, int, ps.Prompt]]:
    p, q = runs[a.plan.name].prompt, runs[b.plan.name].prompt
    values = [one.importances["zero"].difference.values.values[0] for one in (a, b)]
    prompts: list[tuple[str, int, ps.Prompt]] = [("first", 0, p), ("second", 0, q)]
    prompts.append(("mixed", 0, mix(p, q, taken_tokens(*values).tolist())))
    for draw in range(settings.draws):
        seed = int(content_hash([a.plan.name, b.plan.name, draw])[:8], 16)
        chosen = np.flatnonzero(random_choice(p.length, p.length // 2, seed))
        prompts.append(("random mixture", draw, mix(p, q, chosen.tolist())))
    return prompts


def _scored(
    models: Mapping[str, ModelSource],
    task_name: str,
    task: ps.Task,
    prompts: Sequence[tuple[str, int, ps.Prompt]],
    limit: int | None,
) -> list[list[object]]:
    def of_model(model: ps.HookedModel) -> list[tuple[str, int, float, float]]:
        rows = []
        for name, draw, prompt in prompts:
            scores = ps.evaluate(model, prompt.copy().bind(model, strict=False), task, limit=limit, progress=False)
            rows.append((name, draw, scores["loss"], scores["accuracy"]))
        return rows

    found = ModelSet(models).map(of_model)
    return [[task_name, *models, model, *row] for model, rows in found.items() for row in rows]
