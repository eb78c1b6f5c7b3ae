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
    "prompts": (
        "Norms are L2. effective rank: how many directions the vectors use, from 1 to their "
        "number; random rank: the same for random vectors of the same norms. inner cosine: "
        "mean cosine of two different vectors of the prompt; 0 for random directions."
    ),
    "similarities": (
        "For every two prompts of the same width: average (of the two mean vectors), "
        "pairwise (mean over positions; only for prompts of the same length) and per "
        "token (mean over all pairs of vectors). random cosine: average cosine with "
        "random vectors of the second prompt's norms."
    ),
    "groups": "Mean similarities over pairs of prompts of the same group and of different groups.",
    "clusters": (
        "Silhouette, in [-1, 1]: 1 = tight clusters, 0 = none. shuffled: its mean when "
        "labels are permuted at random; p: how often that is at least as high. With few "
        "prompts there are few permutations, and p cannot be small."
    ),
    "neighbours": (
        "Nearest tokens of each vector. cosine: with the nearest token; random cosine: of "
        "a random vector of the same norm with its own nearest token, which any vector has."
    ),
    "transfer": (
        "Score and loss of every prompt on every task; random: with a random prompt of the "
        "same norms; frozen: without a prompt. Higher scores and lower losses are better."
    ),
    "left_out": "Files that could not be read and prompts that could not be compared, with the reason.",
}


@dataclass(frozen=True, eq=False)
class PromptComparison(Saved):
    """What `ps.compare_prompts` found: tables and figures, by name.

    - `tables` (DataFrames): `prompts` (norms, ranks), `similarities` (of every two prompts), `groups` (means of these
      within and between groups), `clusters` (silhouettes); with a model `neighbours` (nearest tokens), with tasks
      `transfer` (scores); `left_out` (what could not be read or compared, and why), if there is anything.
    - `figures` (Plotly): for each vector width, the similarities as a matrix, a PCA and a t-SNE.
    - `prompts`: the vectors that were compared; `settings`: how.

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
        """Return all tables and figures as one page (`ps.Report`)."""
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
    """Compare prompts from any source: norms, effective ranks, similarities, PCA, t-SNE, and clusters.

    Whether prompts of one group are more similar than others is tested by permuting the groups. Prompts with vectors of
    different widths are not compared with each other.

    Args:
        prompts: name -> prompt, or -> array, tensor or nested list of floats (k, d): k positions, width d. Or a folder,
            in which all prompts are found: `.npy`, `.npz`, `.pt`, `.safetensors`, PEFT adapters, promptscope's own
            prompts and runs.
        groups: name -> group, such as its task, seed or method. By default a prompt's group is the folder it is in. A
            prompt that *groups* does not name is a group of its own.
        model: adds the nearest tokens of each vector; prompts of another width are left out of that table.
        tasks: name -> task; adds how well each prompt solves each task. Needs the model.
        nearest: number of nearest tokens for each vector.
        split, limit: records on which tasks are scored: the first *limit* of *split*.
        n_permutations: random permutations of the labels in each cluster test; p-values cannot be below
            `1 / (1 + n_permutations)`.
        seed: of all random draws.

    Raises:
        PromptError: no prompt, or an entry of *prompts* that is not one. In a folder such a file is left out, and
            `left_out` names it.
        ArgumentError: tasks without a model, or *groups* names a prompt that is not there.

    >>> import numpy as np
    >>> noise = np.random.default_rng(0)
    >>> found = compare_prompts({name: noise.normal(size=(4, 16)) for name in ("a", "b", "c")})
    >>> list(found.tables), len(found.tables["similarities"])
    (['prompts', 'similarities', 'clusters'], 3)
    """
    if tasks is not None and model is None:
        raise ArgumentError(
            "compare_prompts: tasks can be scored with a model only, and model is None: give model=ps.load_model(...)"
        )
    left_out: dict[str, str] = {}
    if isinstance(prompts, Mapping):
        found = vectors_of(prompts)
    else:
        found, left_out = read_vectors(prompts)
    if not found:
        raise PromptError("compare_prompts needs at least one prompt, and prompts is empty")
    named = {one.name: _group(one.name, groups) for one in found}
    unknown = sorted(set(groups or {}) - set(named))
    if unknown:
        raise ArgumentError(
            f"compare_prompts: groups must name prompts that are given ({list(named)}), and names {unknown}"
        )
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
