"""Prompts compared by means of a model: the tokens nearest to their vectors, and the tasks that they solve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from promptscope.comparison.vectors import PromptVectors
from promptscope.errors import PromptError
from promptscope.inference import evaluate
from promptscope.models import HookedModel
from promptscope.prompts import Prompt, SoftPrompt, random_like
from promptscope.readings import Nulls, read_nearest_tokens
from promptscope.tasks import Task


def fitting(prompts: Sequence[PromptVectors], model: HookedModel) -> tuple[list[PromptVectors], dict[str, str]]:
    """Return the prompts that the model can run, bound to it, and name -> reason for the others."""
    found, left_out = [], {}
    for one in prompts:
        try:
            one.prompt.strict = False  # numbers from elsewhere do not say which embeddings they were made for
            one.prompt.bind(model)
            found.append(one)
        except PromptError as error:
            left_out[one.name] = str(error)
    return found, left_out


def neighbour_table(prompts: Sequence[PromptVectors], model: HookedModel, n: int = 5, seed: int = 0) -> pd.DataFrame:
    """Return the *n* nearest tokens of each vector of input-level prompts, by cosine.

    Columns: `prompt`, `position`, `tokens`; `cosine`, with the nearest token, in [-1, 1], higher = nearer;
    `random_cosine`, of a random vector of the same norm with its own nearest token, as the null.
    """
    rows = []
    for one in prompts:
        if not isinstance(one.prompt, SoftPrompt):
            continue
        # One entry of the vocabulary as reference: the percentiles among it are not used.
        found = read_nearest_tokens(model, one.prompt, n, nulls=Nulls(random=1, seed=seed), n_reference=1).table
        random = found[(found["kind"] == "random") & (found["rank"] == 1)].set_index("position")["distance"]
        for position, of_position in found[found["kind"] == "prompt"].groupby("position"):
            tokens = ", ".join(repr(token) for token in of_position["token"])
            nearest = float(of_position["distance"].min())
            rows.append((one.name, position, tokens, 1 - nearest, 1 - float(np.asarray(random.loc[position]).item())))
    return pd.DataFrame(rows, columns=["prompt", "position", "tokens", "cosine", "random_cosine"])


def transfer_table(
    prompts: Sequence[PromptVectors],
    model: HookedModel,
    tasks: Mapping[str, Task],
    split: str = "test",
    limit: int | None = 200,
    batch_size: int = 16,
    seed: int = 0,
) -> pd.DataFrame:
    """Return how well each prompt solves each task, without further training.

    Columns `task`, `prompt`, `metric`, `score`, `loss`; `random_score` and `random_loss` of a random prompt of the same
    norms; `frozen_score` and `frozen_loss` without a prompt; `n`, the number of records. Scores: higher is better;
    losses in nats per target token, lower is better.
    """
    rows = []
    for name, task in tasks.items():

        def score(prompt: Prompt | None, task: Task = task) -> tuple[str, float, float, float]:
            found = evaluate(model, prompt, task, split=split, batch_size=batch_size, limit=limit, progress=False)
            metric = next(iter(found))
            return metric, found[metric], found["loss"], found["n"]

        metric, frozen, frozen_loss, n = score(None)
        for one in prompts:
            _, of_prompt, loss, _ = score(one.prompt)
            _, of_random, random_loss, _ = score(random_like(one.prompt, seed=seed))
            rows.append((name, one.name, metric, of_prompt, loss, of_random, random_loss, frozen, frozen_loss, int(n)))
    columns = [
        "task",
        "prompt",
        "metric",
        "score",
        "loss",
        "random_score",
        "random_loss",
        "frozen_score",
        "frozen_loss",
    ]
    return pd.DataFrame(rows, columns=[*columns, "n"])
