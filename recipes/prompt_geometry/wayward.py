"""Prompts that were held near an unrelated text: do they solve their tasks there?"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

import promptscope as ps
from promptscope.statistics import nearest_vectors
from recipes.prompt_geometry.grid import Key
from recipes.prompt_geometry.vectors import Geometry, nearest_names, numbers


def wayward_table(
    model: ps.HookedModel,
    where: Geometry,
    runs: Mapping[Key, ps.Run],
    scores: pd.DataFrame,
    free_scores: pd.DataFrame,
) -> pd.DataFrame:
    """Return one line for each wayward run, compared with the free prompts of its task.

    - `accuracy`: its own, `free_accuracy` the mean over the free prompts, `relative_drop` = 1 - accuracy /
      free_accuracy (Khashabi et al. 2022 accept 0.02);
    - `at_text`: share of its positions whose nearest token (cosine) is the text's token there, in [0, 1];
    - `l2_from_text`: mean L2 distance to these tokens, `free_l2_from_start` that of the free prompts to their words;
    - `nearest`: the nearest tokens, by position.
    """
    accuracy, free_accuracy = (_last(table).groupby("task")["accuracy"].mean() for table in (scores, free_scores))
    moved = pd.Series(np.linalg.norm(where.x - where.start, axis=1)).groupby(where.labels["task"].to_numpy()).mean()
    rows = []
    for (task, _), run in runs.items():
        prompt = run.prompt
        assert isinstance(prompt, ps.WaywardPrompt)
        x = numbers(prompt)
        start = numbers(ps.SoftPrompt(prompt.length, ps.init.Text(prompt.text)).bind(model))
        at = [nearest_vectors(vectors, where.vocabulary, 1)[0][:, 0] for vectors in (x, start)]
        own, free = float(accuracy[task]), float(free_accuracy[task])
        rows.append(
            {
                "task": task,
                "accuracy": own,
                "free_accuracy": free,
                "relative_drop": 1 - own / free if free else np.nan,
                "at_text": float((at[0] == at[1]).mean()),
                "l2_from_text": float(np.linalg.norm(x - start, axis=1).mean()),
                "free_l2_from_start": float(moved[task]),
                "nearest": " ".join(nearest_names(where, x, 1)),
            }
        )
    return pd.DataFrame(rows)


def _last(scores: pd.DataFrame) -> pd.DataFrame:
    return scores[scores["step"] == scores.groupby(["task", "word"])["step"].transform("max")]
