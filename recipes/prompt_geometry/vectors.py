"""All trained vectors as one table, and the tokens they are compared with."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

import promptscope as ps
from promptscope.readings import embedding_table, token_names
from promptscope.statistics import nearest_vectors
from recipes.prompt_geometry.settings import Settings


@dataclass(frozen=True, eq=False)
class Geometry:
    """What all tables are computed from; no model is needed any more.

    `x` (N, d) are the trained vectors, run by run, and `start` those they were trained from; `labels` has a row for
    each: `task`, `word`, `position`. `vocabulary` (V, d) with `names`; `sample`: random rows of it, `words`: the rows
    of the initial words.
    """

    x: Float[np.ndarray, "N d"]
    start: Float[np.ndarray, "N d"]
    labels: pd.DataFrame
    vocabulary: Float[np.ndarray, "V d"]
    names: list[str]
    sample: Int[np.ndarray, "S"]
    words: dict[str, int]


def geometry(model: ps.HookedModel, runs: Mapping[tuple[str, str], ps.Run], settings: Settings) -> Geometry:
    """Collect the last prompts of all runs, in their order."""
    rows = [
        (task, word, position, last[position], first[position])
        for (task, word), run in runs.items()
        for last, first in [(numbers(run.prompt), numbers(run.snapshots[0]))]
        for position in range(settings.length)
    ]
    vocabulary = embedding_table(model)
    usable = np.flatnonzero(np.linalg.norm(vocabulary, axis=1))  # a vector of zeros has no direction
    draw = np.random.default_rng(settings.seed).choice(usable, min(settings.tokens, len(usable)), replace=False)
    ids = {word.strip(): model.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in settings.words}
    return Geometry(
        x=np.stack([row[3] for row in rows]),
        start=np.stack([row[4] for row in rows]),
        labels=pd.DataFrame([row[:3] for row in rows], columns=["task", "word", "position"]),
        vocabulary=vocabulary,
        names=token_names(model, range(len(vocabulary))),
        sample=np.sort(draw),
        words=ids,
    )


def steps(where: Geometry) -> Geometry:
    """Return the same with what training added (trained - start) instead of the trained vectors."""
    return replace(where, x=where.x - where.start)


def nearest_names(where: Geometry, vectors: Float[np.ndarray, "M d"], n: int = 3) -> list[str]:
    """Return the *n* nearest tokens by cosine of each vector, as text."""
    rows, _ = nearest_vectors(vectors, where.vocabulary, n)
    return [", ".join(repr(where.names[i]) for i in row) for row in rows.tolist()]


def numbers(prompt: ps.Prompt) -> Float[np.ndarray, "k d"]:
    """Return the vectors of an input-level prompt."""
    assert isinstance(prompt, ps.SoftPrompt)
    return prompt.vectors().detach().float().cpu().numpy()
