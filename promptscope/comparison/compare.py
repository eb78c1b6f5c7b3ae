"""Compare prompts: one call, one page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from promptscope.checks import checked
from promptscope.comparison.figures import all_figures
from promptscope.comparison.files import read_vectors
from promptscope.comparison.tables import by_width, cluster_table, group_table, prompt_table, similarity_table
from promptscope.comparison.vectors import PromptVectors, vectors_of
from promptscope.comparison.with_model import fitting, neighbour_table, transfer_table
from promptscope.errors import ArgumentError, PromptError
from promptscope.models import HookedModel
from promptscope.probes import Saved
from promptscope.report import Report
from promptscope.tasks import Task

CAPTIONS = {
    "prompts": "Norms are L2. effective rank: how many directions the vectors use; random rank: those of random "
    "vectors of the same norms. inner cosine: mean over two different vectors of the prompt; random directions have 0.",
    "similarities": "Of every two prompts of one width: average (of the mean vectors), pairwise (position by "
    "position; only of prompts of one length) and per token (all vectors with all). random cosine: with random vectors "
    "of the other's norms.",
    "groups": "Means over pairs.",
    "clusters": "Silhouette: 1 = tight clusters, 0 = none. shuffled: its mean when labels are dealt at random, whole "
    "prompts together; p: how often that is as high. Few prompts have few ways to be dealt: p cannot be small.",
    "neighbours": "Nearest tokens by cosine, and how near the nearest token of a random vector of the same norm is.",
    "transfer": "Every prompt on every task, with a random prompt of the same norms and without a prompt.",
    "left_out": "What could not be read, or not be compared.",
}


@dataclass(frozen=True, eq=False)
class PromptComparison(Saved):
    """Prompts side by side: `tables` and `figures` by name, and why some were left out.

    Tables: `prompts`, `similarities`, `groups`, `clusters`; with a model `neighbours`, and with tasks `transfer`;
    `left_out`, if something was. Figures: the similarities as a matrix, PCA and t-SNE, for each width.

    >>> import numpy as np
    >>> found = compare_prompts({"a": np.eye(4), "b": 2 * np.eye(4)})
    >>> found.tables["prompts"][["prompt", "norm_mean"]].values.tolist()
    [['a', 1.0], ['b', 2.0]]
    """

    prompts: list[PromptVectors]
    tables: dict[str, pd.DataFrame]
    figures: dict[str, go.Figure]
    settings: dict[str, Any] = field(default_factory=dict)

    def page(self, title: str = "Soft prompts compared") -> Report:
        """Return all of it as one page."""
        widths = by_width(self.prompts)
        of = ", ".join(f"{len(mine)} of width {width}" for width, mine in widths.items())
        page = Report(title, f"{len(self.prompts)} prompts: {of}. Prompts of different widths are not compared.")
        page.number("prompts", str(len(self.prompts)), of)
        for row in self.tables["clusters"].itertuples():
            page.number(
                f"silhouette, {row.labels}", f"{row.silhouette:.2f}", f"p = {row.p_value:.2g}, width {row.width}"
            )
        for name, table in self.tables.items():
            page.section(name.replace("_", " ").capitalize()).text(CAPTIONS[name])
            if name == "similarities":
                for figure in self.figures.values():
                    page.figure(figure)
            page.table(table)
        return page.provenance({"settings": self.settings})


@checked(nearest=1, n_permutations=1, seed=0, limit=1)
def compare_prompts(
    prompts: Mapping[str, Any] | str | os.PathLike[str],
    groups: Mapping[str, str] | None = None,
    model: HookedModel | None = None,
    tasks: Mapping[str, Task] | None = None,
    nearest: int = 5,
    split: str = "test",
    limit: int | None = 200,
    n_permutations: int = 199,
    seed: int = 0,
) -> PromptComparison:
    """Compare prompts from anywhere: norms, effective ranks, similarities, PCA, t-SNE, clusters with permutation tests.

    Args:
        prompts: name -> prompt, array or tensor (k, d) of any float type, or nested list; or a folder, in which all
            prompts are found (`.npy`, `.npz`, `.pt`, `.safetensors`, PEFT's, ours).
        groups: name -> group (task, seed, method); by default the folder that a prompt lies in. Names that are missing
            are a group of their own.
        model: adds the nearest tokens of each vector; prompts of another width are left out of that.
        tasks: name -> task; adds how each prompt solves each (needs the model).

    Raises:
        PromptError: no prompt, or something among *prompts* that is none (in a folder it is left out, and named).
        ArgumentError: tasks without a model, or groups of prompts that are not there.

    >>> import numpy as np
    >>> noise = np.random.default_rng(0)
    >>> found = compare_prompts({name: noise.normal(size=(4, 16)) for name in ("a", "b", "c")})
    >>> list(found.tables), len(found.tables["similarities"])
    (['prompts', 'similarities', 'clusters'], 3)
    """
    if tasks is not None and model is None:
        raise ArgumentError("compare_prompts: tasks need a model to be solved by: give model=ps.load_model(...)")
    left_out: dict[str, str] = {}
    if isinstance(prompts, Mapping):
        found = vectors_of(prompts)
    else:
        found, left_out = read_vectors(prompts)
    if not found:
        raise PromptError("there is nothing to compare: give at least one prompt")
    named = {one.name: _group(one.name, groups) for one in found}
    unknown = sorted(set(groups or {}) - set(named))
    if unknown:
        raise ArgumentError(f"compare_prompts: groups names {unknown}, and the prompts are {list(named)}")
    similarities = similarity_table(found, named, seed)
    tables = {"prompts": prompt_table(found, named, seed), "similarities": similarities}
    if similarities["same_group"].nunique() > 1:
        tables["groups"] = group_table(similarities)
    tables["clusters"] = cluster_table(found, named, n_permutations, seed)
    if model is not None:
        usable, others = fitting(found, model)
        left_out |= {f"{name}, with the model": reason for name, reason in others.items()}
        tables["neighbours"] = neighbour_table(usable, model, nearest, seed)
        if tasks:
            tables["transfer"] = transfer_table(usable, model, tasks, split, limit, seed=seed)
    if left_out:
        tables["left_out"] = pd.DataFrame(left_out.items(), columns=["prompt", "reason"])
    settings = {"n_permutations": n_permutations, "seed": seed, "model": None if model is None else model.name}
    return PromptComparison(found, tables, all_figures(found, named, similarities, seed), settings)


def _group(name: str, groups: Mapping[str, str] | None) -> str:
    """Return a prompt's group: the one that is given, else its folder, else its own name."""
    if groups is not None:
        return groups.get(name, name)
    folder = name.partition(":")[0].rpartition("/")[0]
    return folder or name
