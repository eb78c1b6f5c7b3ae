"""Where the tokens of a prompt lie among the embeddings of the models that share it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

import promptscope as ps
from promptscope.inference import ModelSet, ModelSource
from promptscope.statistics import Metric, nearest_in_spaces, nearest_vectors, neighbour_vote

METRICS: tuple[Metric, ...] = ("cosine", "l2")


@dataclass(frozen=True)
class Places:
    """Votes and back translation, by metric.

    - `votes`: for each token, the index (among the prompt's models) of the model to which most of the token's nearest
      neighbours among all models' embeddings belong; `shares`: the share of neighbours that belong to it.
    - `words`: one line per model, token and metric: `model`, `token`, `metric`, `word`, `distance`, and
      `random_distance`, that of a random vector of the token's norm from its own nearest word.
    """

    votes: dict[str, list[int]]
    shares: dict[str, list[float]]
    words: list[list[Any]]


def find_places(models: Mapping[str, ModelSource], prompt: ps.SoftPrompt, n: int) -> Places:
    """Find the neighbours of every token; models given by name are loaded one at a time."""
    queries, beside = _numbers(prompt), _numbers(ps.random_like(prompt, seed=0))
    votes: dict[str, list[int]] = {}
    shares: dict[str, list[float]] = {}
    for metric in METRICS:
        spaces, _, _ = nearest_in_spaces(queries, embeddings(models), n, metric)
        winner, share = neighbour_vote(spaces)
        votes[metric], shares[metric] = winner.tolist(), share.tolist()
    words: list[list[Any]] = []
    for name, source in models.items():
        (found,) = ModelSet({name: source}).map(lambda model: _words(model, queries, beside)).values()
        words += [[name, *line] for line in found]
    return Places(votes, shares, words)


def embeddings(models: Mapping[str, ModelSource]) -> Iterator[Float[np.ndarray, "V d"]]:
    """Yield the embedding matrix of one model after the other; models given by name are loaded for it."""
    for name, source in models.items():
        (table,) = ModelSet({name: source}).map(embedding_matrix).values()
        yield table


@torch.no_grad()
def embedding_matrix(model: ps.HookedModel) -> Float[np.ndarray, "V d"]:
    """Return the input embeddings of all vocabulary entries."""
    return model.embed(torch.arange(model.shape.vocab_size)).float().cpu().numpy()


def _words(
    model: ps.HookedModel, queries: Float[np.ndarray, "k d"], beside: Float[np.ndarray, "k d"]
) -> list[list[Any]]:
    table, lines = embedding_matrix(model), []
    for metric in METRICS:
        rows, distances = nearest_vectors(queries, table, 1, metric)
        _, random = nearest_vectors(beside, table, 1, metric)
        for token, (row, distance, other) in enumerate(zip(rows[:, 0], distances[:, 0], random[:, 0], strict=True)):
            word = str(model.tokenizer.decode([int(row)]))
            lines.append([token, metric, word, round(float(distance), 6), round(float(other), 6)])
    return lines


def _numbers(prompt: ps.SoftPrompt) -> Float[np.ndarray, "k d"]:
    return prompt.vectors().detach().float().cpu().numpy()
