"""What words a prompt's vectors lie near, compared with random vectors of the same norms."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

import promptscope as ps
from promptscope.readings import Nulls, read_nearest_tokens
from promptscope.statistics import effective_rank, p_value_of_draws
from recipes.common.grids import Planned, best_prompt

MEASURES = ("cosine", "label_rate", "shared", "rank")


def reading(near: pd.DataFrame, prompt: ps.Prompt, task: ps.Task) -> dict[str, float]:
    """Return four numbers of a prompt's nearest tokens.

    Mean `cosine` of each vector's nearest token; `label_rate`: the share of label words among the neighbours of any
    vector (NaN without label words); `shared`: the share of vectors whose nearest token is another vector's too;
    `rank`: effective rank of the vectors divided by their number.
    """
    first = near[near["rank"] == 1]
    assert isinstance(prompt, ps.SoftPrompt)
    vectors = prompt.vectors().detach().numpy(force=True).astype(np.float64)
    rate = np.nan
    if task.verbalizer is not None:
        words = {task.verbalizer.word(label).strip().lower() for label in task.verbalizer.labels}
        there = {token.strip().lower() for token in near["token"]}
        rate = len(words & there) / len(words)
    numbers = (
        1 - first["distance"].mean(),
        rate,
        first["token"].duplicated(keep=False).mean(),
        effective_rank(vectors) / len(vectors),
    )
    return dict(zip(MEASURES, map(float, numbers), strict=True))


def reading_table(
    model: ps.HookedModel,
    tasks: Mapping[str, ps.Task],
    planned: Sequence[Planned],
    runs: Mapping[str, ps.Run],
    n: int,
    draws: int,
) -> pd.DataFrame:
    """Return each measure of each prompt of the `starts`, with the mean over random prompts and a p-value.

    p: share of random prompts, of the same norms in random directions, that do as well (higher; for `rank`, lower).
    """
    lines = []
    for one in planned:
        if one.group != "starts" or one.name not in runs:
            continue
        prompt = best_prompt(runs[one.name])
        near = read_nearest_tokens(model, prompt, n, nulls=Nulls(random=draws), n_reference=1).table
        found = reading(near[near["kind"] == "prompt"], prompt, tasks[one.task])
        null = [
            reading(near[near["of"] == f"random {i}"], ps.random_like(prompt, seed=i), tasks[one.task])
            for i in range(draws)
        ]
        for measure, value in found.items():
            drawn = np.array([each[measure] for each in null])
            p = p_value_of_draws(value, drawn, higher_is_more=measure != "rank") if np.isfinite(value) else np.nan
            mean = float(drawn.mean()) if np.isfinite(value) else np.nan
            lines.append((one.variant, one.task, one.seed, measure, value, mean, p))
    return pd.DataFrame(lines, columns=["start", "task", "seed", "measure", "value", "random", "p"])


def neighbour_table(
    model: ps.HookedModel, planned: Sequence[Planned], runs: Mapping[str, ps.Run], n: int
) -> pd.DataFrame:
    """Return the nearest tokens of every vector of the first seed's prompts."""
    parts = []
    for one in planned:
        if one.group == "starts" and one.seed == 0 and one.name in runs:
            near = read_nearest_tokens(
                model, best_prompt(runs[one.name]), n, nulls=Nulls(random=0), n_reference=1
            ).table
            near = near[near["kind"] == "prompt"]
            parts.append(near.assign(cosine=1 - near["distance"], start=one.variant, task=one.task))
    columns = ["start", "task", "position", "rank", "token", "cosine"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)
