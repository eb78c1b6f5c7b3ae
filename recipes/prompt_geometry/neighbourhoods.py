"""Section 3.2: the neighbours of random tokens, initial words and prompt tokens."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from promptscope.statistics import (
    distance_matrix,
    epsilon_neighbours,
    nearest_vectors,
    neighbour_counts_by_group,
    neighbours_alike,
)
from recipes.prompt_geometry.settings import Settings
from recipes.prompt_geometry.vectors import Geometry

PAPER_NEIGHBOURS, PAPER_PROMPTS = 36.66, 70.80
"""Tokens around a token, prompt vectors around a prompt vector, as printed: each counts itself."""
SELF = 1.0
PAPER_SHARE = (PAPER_PROMPTS - SELF) / 239
"""Share of the other prompt vectors that the paper's prompt vectors have around them."""
PAPER_EPSILON = 0.7
_SAME = ("word", "task", "position")


def matched_epsilon(where: Geometry, n: float = PAPER_NEIGHBOURS - SELF) -> float:
    """Return the cosine distance within which a token (random ones and initial words) has *n* others, on average.

    A fixed epsilon means another neighbourhood in every model: 0.7 includes 36 tokens in GPT2-XL, and most of the
    vocabulary in models whose token vectors all share a direction.
    """
    tokens = _tokens(where)
    distances = distance_matrix(where.vocabulary[tokens], where.vocabulary)
    distances[np.arange(len(tokens)), tokens] = np.inf
    return _cut(distances, n)


def matched_prompt_epsilon(where: Geometry, n: float = PAPER_PROMPTS - SELF) -> float:
    """Return the cosine distance within which a trained vector has *n* other trained vectors, on average.

    If there are no more than *n* others, the share of them that are neighbours in the paper (`PAPER_SHARE`) is used
    instead: otherwise all would be neighbours, and every count would be saturated.
    """
    distances = distance_matrix(where.x)
    np.fill_diagonal(distances, np.inf)
    others = len(where.x) - 1
    return _cut(distances, n if n < others else PAPER_SHARE * others)


def saturation(where: Geometry) -> str:
    """Return why this grid cannot have the paper's neighbourhoods; an empty text if it can.

    >>> PAPER_PROMPTS - SELF
    69.8
    """
    others, tokens = len(where.x) - 1, len(where.vocabulary) - 1
    if others <= PAPER_PROMPTS - SELF:
        return f"{others + 1} vectors cannot have {PAPER_PROMPTS - SELF:.1f} others around them"
    if tokens <= PAPER_NEIGHBOURS - SELF:
        return f"{tokens + 1} tokens cannot have {PAPER_NEIGHBOURS - SELF:.1f} others around them"
    return ""


def _cut(distances: Float[np.ndarray, "Q R"], n: float) -> float:
    usable = np.sort(distances[np.isfinite(distances)])
    return float(usable[min(round(n * len(distances)), len(usable) - 1)])


def neighbourhoods_at(where: Geometry, settings: Settings) -> pd.DataFrame:
    """Return `neighbourhood_table` at the epsilon of tokens, at that of prompts, and at the paper's 0.7."""
    each = dict.fromkeys((settings.epsilon, settings.prompt_epsilon, PAPER_EPSILON))
    tables = [neighbourhood_table(where, epsilon, settings.self_pairs).assign(epsilon=epsilon) for epsilon in each]
    both = pd.concat(tables, ignore_index=True)
    return both[["epsilon", *(name for name in both if name != "epsilon")]]


def neighbourhood_table(where: Geometry, epsilon: float, self_pairs: bool) -> pd.DataFrame:
    """Return mean numbers of neighbours (cosine distance < epsilon), by what they are neighbours of.

    `neighbours` = `vocabulary` + `prompts`; `same_...`: how many of the prompts share word, task, position;
    `expected_...`: how many would if neighbours were drawn from all prompts at random. With *self_pairs* as the authors
    count: a vector is its own neighbour, and an initial word counts twice. `tokens` are the random ones and the initial
    words together, over which the paper averages.
    """
    initial = np.array(list(where.words.values()))
    tokens = {"tokens": _tokens(where), "random tokens": where.sample, "initial words": initial}
    # The authors' list holds the initial words twice, as tokens and as words.
    table = np.concatenate([where.vocabulary, where.vocabulary[initial]]) if self_pairs else where.vocabulary
    rows = []
    for of, ids in tokens.items():
        vectors = where.vocabulary[ids]
        vocabulary = _counts(epsilon_neighbours(vectors, table, epsilon)) - (not self_pairs)
        prompts = epsilon_neighbours(vectors, where.x, epsilon)
        same_word = [np.nan] * len(ids)
        if of == "initial words":
            same_word = neighbours_alike(prompts, list(where.words), where.labels["word"].tolist()).tolist()
        reached = float((_counts(prompts) > 0).mean())
        rows.append(_row(of, vocabulary, _counts(prompts), {"word": np.array(same_word)}, reached))
    vocabulary = _counts(epsilon_neighbours(where.x, table, epsilon))
    found = epsilon_neighbours(where.x, None, epsilon, self_pairs=self_pairs)
    same = {factor: neighbours_alike(found, where.labels[factor].tolist()) for factor in _SAME}
    last = _row("prompt tokens", vocabulary, _counts(found), same, float((_counts(found) > self_pairs).mean()))
    others = len(where.x) - (not self_pairs)
    for factor in _SAME:
        alike = where.labels.groupby(factor)[factor].transform("size").mean() - (not self_pairs)
        last[f"expected_same_{factor}"] = last["prompts"] * alike / others
    found_around = pd.DataFrame([*rows, last])
    found_around["without_vocabulary"] = [np.nan] * len(rows) + [int((vocabulary == 0).sum())]
    return found_around


def closest_table(where: Geometry, epsilon: float) -> pd.DataFrame:
    """Return mean cosine distances to the closest other vector: any, of the vocabulary, of the prompts.

    `vocabulary_within`: over the vectors that have a token nearer than *epsilon*, as the paper averages it;
    `left_out` counts the others.
    """
    tokens = _tokens(where)
    rows = []
    for of, vectors, own_row, own_prompt in (
        ("tokens", where.vocabulary[tokens], tokens, None),
        ("prompt tokens", where.x, None, np.arange(len(where.x))),
    ):
        to_tokens = nearest_vectors(vectors, where.vocabulary, 1, exclude=own_row)[1][:, 0]
        to_prompts = nearest_vectors(vectors, where.x, 1, exclude=own_prompt)[1][:, 0]
        within = to_tokens[to_tokens < epsilon]
        any_ = np.minimum(to_tokens, to_prompts).mean()
        mean_within = within.mean() if within.size else np.nan
        rows.append((of, any_, to_tokens.mean(), mean_within, to_prompts.mean(), len(vectors) - len(within)))
    return pd.DataFrame(rows, columns=["of", "any", "vocabulary", "vocabulary_within", "prompts", "left_out"])


def task_counts(where: Geometry, epsilon: float, self_pairs: bool) -> pd.DataFrame:
    """Return Table 3: how often prompts of the column's task are neighbours of prompts of the row's task."""
    found = epsilon_neighbours(where.x, None, epsilon, self_pairs=self_pairs)
    rows, columns, counts = neighbour_counts_by_group(found, where.labels["task"].tolist())
    return pd.DataFrame(counts, index=rows, columns=columns)


def _tokens(where: Geometry) -> Int[np.ndarray, "T"]:
    """Return the tokens whose neighbours section 3.2 counts: the random ones, then the initial words."""
    return np.concatenate([where.sample, np.array(list(where.words.values()))])


def neighbour_tokens(where: Geometry, epsilon: float) -> pd.DataFrame:
    """Return every vocabulary token near any prompt vector: near how many, of which tasks and words, how near.

    The paper sorts these by eye: inflections of the initial words, letters, unreadable symbols, others.
    """
    rows = []
    found = epsilon_neighbours(where.x, where.vocabulary, epsilon)
    around: dict[int, list[int]] = {}
    for vector, near in enumerate(found):
        for token in near.tolist():
            around.setdefault(token, []).append(vector)
    # The nearest prompt of all is one of those within epsilon.
    nearest = nearest_vectors(where.vocabulary[list(around)], where.x, 1)[1][:, 0] if around else np.zeros(0)
    for (token, vectors), distance in zip(around.items(), nearest, strict=True):
        labels = where.labels.iloc[vectors]
        tasks, words = (", ".join(labels[factor].unique()) for factor in ("task", "word"))
        rows.append((where.names[token], token, len(vectors), distance, tasks, words))
    columns = ["token", "token_id", "n_prompt_tokens", "nearest_distance", "tasks", "words"]
    return pd.DataFrame(rows, columns=columns).sort_values(["n_prompt_tokens", "token_id"], ascending=[False, True])


def _counts(neighbours: Sequence[Int[np.ndarray, "_"]]) -> Int[np.ndarray, "Q"]:
    return np.array([len(rows) for rows in neighbours], dtype=np.int64)


def _row(
    of: str,
    vocabulary: Int[np.ndarray, "Q"],
    prompts: Int[np.ndarray, "Q"],
    same: dict[str, Float[np.ndarray, "Q"] | Int[np.ndarray, "Q"]],
    reached: float,
) -> dict[str, float | str]:
    means = {f"same_{factor}": float(same[factor].mean()) if factor in same else np.nan for factor in _SAME}
    counts = {"vocabulary": float(vocabulary.mean()), "prompts": float(prompts.mean())}
    row: dict[str, float | str] = {"of": of, "neighbours": counts["vocabulary"] + counts["prompts"]}
    return {**row, **counts, **means, "share_with_a_prompt": reached}
