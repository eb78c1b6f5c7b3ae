"""Nearest tokens: which tokens' embeddings a prompt's vectors are close to, and whether that is close at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from promptscope.checks import checked
from promptscope.models import HookedModel
from promptscope.probes import Saved
from promptscope.prompts import Prompt
from promptscope.readings.comparison import compare_with_nulls
from promptscope.readings.nulls import Nulls, subjects
from promptscope.readings.provenance import provenance
from promptscope.readings.vocabulary import embedding_table, label_token_ids, token_names
from promptscope.statistics import nearest_vectors, own_nearest_distances, percentile_of
from promptscope.statistics.nearest import NearMetric

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False, repr=False)
class NearestTokens(Saved):
    """The nearest tokens of a prompt's vectors, and of those of its nulls.

    `table` has one row for each prompt that was read (`of`, `kind`), `position` and `rank` (from 1):

    - `token`, `token_id`: the token; `is_label`: whether it is one of a label word;
    - `distance`: in the `metric`; lower = nearer for every metric;
    - `percentile`: where the distance to the nearest token lies among the distances from tokens to their own nearest
      neighbours: 0 = nearer than any of these, 100 = further;
    - `norm`: L2 norm of the prompt's vector; `norm_percentile`: where it lies among the norms of all token embeddings.

    `reference` (R,) holds the distances from R tokens to their own nearest neighbours.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> near = read_nearest_tokens(model, ps.SoftPrompt(length=2).bind(model), n=3, nulls=Nulls(random=1))
    >>> isinstance(near, NearestTokens), len(near.per_position().query("kind == 'prompt'"))
    (True, 2)
    """

    table: pd.DataFrame
    metric: NearMetric
    reference: np.ndarray
    label_words: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    def per_position(self) -> pd.DataFrame:
        """Return one row for each position: distance and percentile of the nearest token, norm, and `label_rate`.

        `label_rate` is 1 if any of the tokens listed for the position is one of a label word, else 0.
        """
        by = ["of", "kind", "position"]
        first = self.table[self.table["rank"] == 1].set_index(by)
        rows = first[["distance", "percentile", "norm", "norm_percentile"]].copy()
        rows["label_rate"] = self.table.groupby(by)["is_label"].any().astype(float)
        return rows.reset_index()

    def against_null(self) -> pd.DataFrame:
        """Return mean distance, percentile and label rate over positions, compared with the nulls.

        Columns are those of `compare_with_nulls`. The question is whether the prompt's vectors are nearer to tokens
        than random ones. Random prompts have the prompt's norms, so the norm has no p-value.
        """
        labels = {"label_rate": True} if self.label_words else {}
        return compare_with_nulls(self.per_position(), {"distance": False, "percentile": False, **labels})

    def to_dataframe(self) -> pd.DataFrame:
        """Return the table."""
        return self.table

    def plot(self) -> go.Figure:
        """Draw the distance to the nearest token at each position, with the nulls and the distances among tokens."""
        from promptscope.plots.nearest_tokens import nearest_tokens_figure

        return nearest_tokens_figure(self)

    def __repr__(self) -> str:
        own = self.table[(self.table["kind"] == "prompt") & (self.table["rank"] <= 3)]
        lines = [f"NearestTokens by {self.metric}: {own['position'].nunique()} positions"]
        for position, rows in own.groupby("position"):
            names = ", ".join(map(repr, rows["token"]))
            lines.append(f"  {position}: {names} (percentile {rows['percentile'].iloc[0]:.1f})")
        return "\n".join(lines)


@checked(n=1)
def read_nearest_tokens(
    model: HookedModel,
    prompt: Prompt,
    n: int = 5,
    metric: NearMetric = "cosine",
    label_words: Sequence[str] = (),
    nulls: Nulls | None = None,
    n_reference: int | None = 1000,
    seed: int = 0,
) -> NearestTokens:
    """Return the *n* token embeddings nearest to each vector of an input-level prompt, and of its nulls.

    Args:
        model: of any family.
        prompt: an input-level prompt.
        n: tokens for each position.
        metric: `"cosine"`, `"l2"` or `"dot"` (which favours tokens with long embeddings), see
            `ps.statistics.nearest_vectors`.
        label_words: words of the task's classes, which are counted among the neighbours: Lester et al. 2021, section 7,
            find class labels among them.
        nulls: random and other prompts that are read for comparison, see `ps.readings.Nulls`.
        n_reference, seed: how many tokens are drawn to measure how far tokens are from their own nearest neighbours;
            None: all.

    Raises:
        PromptError: a deep prompt.
        ProbeError: a label word without tokens.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> prompt = ps.SoftPrompt(length=2, init="text: the").bind(model)
    >>> reading = read_nearest_tokens(model, prompt, n=1)
    >>> reading.per_position().query("kind == 'prompt'")["distance"].tolist()
    [0.0, 0.0]
    """
    read = subjects(model, prompt, nulls=nulls or Nulls())
    table = embedding_table(model)
    labels = set(label_token_ids(model, label_words)) if label_words else set()
    reference = own_nearest_distances(table, metric, n_reference, seed)
    vectors = np.concatenate([subject.vectors for subject in read])
    ids, distances = nearest_vectors(vectors, table, n, metric)
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    k = read[0].prompt.length
    rows = pd.DataFrame(
        {
            "of": np.repeat([subject.of for subject in read], k * n),
            "kind": np.repeat([subject.kind for subject in read], k * n),
            "position": np.tile(np.repeat(np.arange(k), n), len(read)),
            "rank": np.tile(np.arange(1, n + 1), k * len(read)),
            "token": token_names(model, ids.ravel().tolist()),
            "token_id": ids.ravel(),
            "distance": distances.ravel(),
            "percentile": np.repeat(percentile_of(distances[:, 0], reference), n),
            "is_label": [i in labels for i in ids.ravel().tolist()],
            "norm": np.repeat(norms, n),
            "norm_percentile": np.repeat(percentile_of(norms, np.linalg.norm(table.astype(np.float64), axis=1)), n),
        }
    )
    return NearestTokens(rows, metric, reference, tuple(label_words), provenance(model, prompt, read))
