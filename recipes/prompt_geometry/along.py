"""Which are closer, prompts of one word or of one task, at every stage of training."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

import promptscope as ps
from recipes.prompt_geometry.distances import AVERAGE, kinds_of_pairs
from recipes.prompt_geometry.scores import prompts_along
from recipes.prompt_geometry.vectors import Geometry, numbers


def pairs_along(where: Geometry, runs: Mapping[tuple[str, str], ps.Run], stages: int) -> pd.DataFrame:
    """Return the mean cosine distance of each kind of pair (`kinds_of_pairs`) at several stages of training.

    Prompts of one word start at the same point, so how much closer they are than those of one task depends on how far
    they were trained. A stage is a share of the steps; of each run, the snapshot nearest to it is used.
    """
    snapshots = [{step: numbers(prompt) for step, prompt in prompts_along(run).items()} for run in runs.values()]
    tables = []
    for share in np.linspace(0.0, 1.0, stages + 1).tolist():
        x = np.concatenate([taken[_nearest(taken, share)] for taken in snapshots])
        tables.append(kinds_of_pairs(replace(where, x=x)).assign(share=round(share, 6)))
    return pd.concat(tables, ignore_index=True)[["share", "pairs", "n_pairs", AVERAGE]]


def _nearest(snapshots: Mapping[int, np.ndarray], share: float) -> int:
    wanted = share * max(snapshots)
    return min(snapshots, key=lambda step: abs(step - wanted))
