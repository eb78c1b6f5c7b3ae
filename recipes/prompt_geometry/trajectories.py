"""Where prompts move: norm, distance from the start, nearest token, from snapshots."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

import promptscope as ps
from promptscope.statistics import nearest_vectors
from recipes.prompt_geometry.scores import prompts_along
from recipes.prompt_geometry.vectors import Geometry, numbers


def trajectory_table(where: Geometry, runs: Mapping[tuple[str, str], ps.Run]) -> pd.DataFrame:
    """Return one row for each vector of each snapshot.

    `norm` and `l2_from_start` (L2), `cosine_from_start` (cosine distance), `token` (nearest by cosine) with its
    `distance`, and `at_word`: whether that is still the initial word.
    """
    rows, vectors, starts = [], [], []
    for (task, word), run in runs.items():
        along = {step: numbers(prompt) for step, prompt in sorted(prompts_along(run).items())}
        for step, now in along.items():
            rows += [(task, word, step, position) for position in range(len(now))]
            vectors.append(now)
            starts.append(along[0])
    x, start = np.concatenate(vectors).astype(np.float64), np.concatenate(starts).astype(np.float64)
    ids, distances = nearest_vectors(x, where.vocabulary, 1)
    table = pd.DataFrame(rows, columns=["task", "word", "step", "position"])
    norms = np.linalg.norm(x, axis=1)
    cosines = np.einsum("ij,ij->i", x, start) / (norms * np.linalg.norm(start, axis=1))
    return table.assign(
        norm=norms,
        l2_from_start=np.linalg.norm(x - start, axis=1),
        cosine_from_start=np.clip(1.0 - cosines, 0.0, 2.0),
        token=[where.names[i] for i in ids[:, 0]],
        distance=distances[:, 0],
        at_word=[where.words[word] == i for word, i in zip(table["word"], ids[:, 0].tolist(), strict=True)],
    )
