"""The recipe's figures, from its tables."""

import math
from collections.abc import Mapping
from contextlib import suppress

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from promptscope.plots import (
    CATEGORICAL,
    SEQUENTIAL,
    group_distances_figure,
    projection_figure,
    titled_figure,
    with_alpha,
)
from promptscope.statistics import Metric, Projection, pca_projection, tsne_projection, umap_projection
from recipes.prompt_geometry.distances import AVERAGE, panel_means, reference_means
from recipes.prompt_geometry.vectors import Geometry, nearest_names

_GRID = "#ECEEF1"
_COLUMNS = 2


def curves_figure(table: pd.DataFrame, panels: Mapping[str, str], title: str, about: str) -> go.Figure:
    """Draw columns of *table* along the steps, one panel each: thin lines are runs, thick ones means over words.

    *panels* maps columns to the names of their axes; hovering on a run shows the column `hover`.
    """
    height = math.ceil(len(panels) / _COLUMNS)
    figure = make_subplots(height, _COLUMNS, horizontal_spacing=0.12, vertical_spacing=0.16)
    figure = titled_figure(370 * _COLUMNS, 110 + 270 * height, title, about, figure)
    for number, task in enumerate(table["task"].drop_duplicates()):
        colour = CATEGORICAL[number % len(CATEGORICAL)]
        of_task = table[table["task"] == task]
        for panel, name in enumerate(panels):
            row, column = panel // _COLUMNS + 1, panel % _COLUMNS + 1
            thick = of_task.groupby("step")[name].mean()
            for word, run in of_task.groupby("word", sort=False):
                figure.add_scatter(
                    x=run["step"],
                    y=run[name],
                    mode="lines",
                    line={"color": with_alpha(colour, 0.3), "width": 1},
                    text=run["hover"],
                    hovertemplate=f"{task}, {word}<br>step %{{x}}: %{{y:.4g}}<br>%{{text}}<extra></extra>",
                    legendgroup=task,
                    showlegend=False,
                    row=row,
                    col=column,
                )
            figure.add_scatter(
                x=thick.index,
                y=thick,
                name=task,
                mode="lines+markers",
                line={"color": colour, "width": 2.5},
                hovertemplate=f"{task}, mean over words<br>step %{{x}}: %{{y:.4g}}<extra></extra>",
                legendgroup=task,
                showlegend=panel == 0,
                row=row,
                col=column,
            )
    for panel, units in enumerate(panels.values()):
        at = {"row": panel // _COLUMNS + 1, "col": panel % _COLUMNS + 1}
        share = units.startswith("share") or "accuracy" in units
        figure.update_yaxes(
            title_text=units, showgrid=True, gridcolor=_GRID, range=[-0.03, 1.03] if share else None, **at
        )
    figure.update_xaxes(title_text="step", row=height)
    figure.update_layout(legend={"y": -60 / (270 * height), "yanchor": "top"}, margin={"b": 130})
    return figure


def scores_figure(scores: pd.DataFrame) -> go.Figure:
    """Draw Figures 1 and 2: test accuracy and test loss along training."""
    panels = {"accuracy": "test accuracy", "loss": "test loss, nats per label token"}
    about = "thin lines: one run · thick lines: mean over initial words · step 0: the untrained prompt"
    return curves_figure(scores.assign(hover=""), panels, "Accuracy and loss along training (Figures 1, 2)", about)


def trajectories_figure(trajectories: pd.DataFrame) -> go.Figure:
    """Draw where prompts move: norm, distances from the start, and how many still lie nearest to their word."""
    by = ["task", "word", "step"]
    numbers = ["norm", "l2_from_start", "cosine_from_start", "at_word"]
    runs = trajectories.assign(at_word=trajectories["at_word"].astype(float)).groupby(by, sort=False)[numbers].mean()
    names = trajectories.groupby(by, sort=False)["token"].apply(lambda tokens: ", ".join(map(repr, tokens)))
    table = runs.assign(hover="nearest: " + names).reset_index()
    panels = {
        "norm": "L2 norm",
        "l2_from_start": "L2 distance from the start",
        "cosine_from_start": "cosine distance from the start",
        "at_word": "share nearest to the initial word",
    }
    about = (
        "means over positions · thin lines: one run (hover for the nearest tokens by position) · "
        "thick lines: mean over words"
    )
    return curves_figure(table, panels, "Where prompts move", about)


def distance_figures(where: Geometry, self_pairs: bool) -> dict[str, go.Figure]:
    """Draw Figures 3 and 5: average distances between positions of a run, tasks, words."""
    names: dict[Metric, tuple[str, str]] = {
        "cosine": ("figure_3", "cosine distance"),
        "l2": ("figure_5", "L2 distance"),
    }
    figures = {}
    for metric, (name, units) in names.items():
        groups, references = panel_means(where, metric, self_pairs), reference_means(where, metric, self_pairs)
        title = f"Average {units} within groups ({name.replace('_', ' ').capitalize()})"
        figures[name] = group_distances_figure(groups, references, units, title)
    return figures


def pairs_along_figure(along: pd.DataFrame) -> go.Figure:
    """Draw how close prompts of one word and prompts of one task are, at every stage of training."""
    figure = titled_figure(
        620, 380, "Same word or same task, along training", "mean cosine distance of two vectors · lower = closer"
    )
    for number, (pairs, part) in enumerate(along.groupby("pairs", sort=False)):
        figure.add_scatter(
            x=part["share"],
            y=part[AVERAGE],
            name=str(pairs),
            mode="lines+markers",
            line={"color": CATEGORICAL[number], "width": 2},
            hovertemplate=f"{pairs}<br>%{{x:.0%}} of the steps: %{{y:.3f}}<extra></extra>",
        )
    figure.update_xaxes(title_text="share of training steps", tickformat=".0%")
    figure.update_yaxes(title_text="cosine distance", showgrid=True, gridcolor=_GRID, rangemode="tozero")
    figure.update_layout(legend={"y": -0.22, "yanchor": "top"}, margin={"b": 110})
    return figure


def projections(where: Geometry, seed: int) -> dict[str, Projection]:
    """Return the pictures of all vectors by name: t-SNE, PCA and, where umap-learn is installed, UMAP."""
    made = {"figure_4_tsne": tsne_projection(where.x, seed=seed), "pca": pca_projection(where.x)}
    with suppress(ImportError):  # an optional package; `projection_table` says that it is missing
        made["umap"] = umap_projection(where.x, seed=seed)
    return made


def projection_table(made: Mapping[str, Projection]) -> pd.DataFrame:
    """Return how far each picture can be trusted, and which could not be drawn."""
    rows = [
        (one.method, one.trustworthiness, one.n_neighbours, sum(one.explained_variance) or np.nan, "")
        for one in made.values()
    ]
    if "umap" not in made:
        note = 'UMAP is not drawn, because umap-learn is not installed (pip install "promptscope[umap]")'
        rows.append(("UMAP", np.nan, 0, np.nan, note))
    return pd.DataFrame(rows, columns=["method", "trustworthiness", "n_neighbours", "explained_variance", "note"])


def projection_figures(where: Geometry, made: Mapping[str, Projection]) -> dict[str, go.Figure]:
    """Draw Figure 4 (t-SNE by word and by task) and the other pictures."""
    labels = where.labels.assign(nearest=nearest_names(where, where.x))
    return {
        f"{name}_by_{factor}": projection_figure(projection, labels, factor)
        for name, projection in made.items()
        for factor in ("word", "task")
    }


def task_counts_figure(counts: pd.DataFrame, epsilon: float) -> go.Figure:
    """Draw Table 3."""
    figure = titled_figure(
        320 + 60 * len(counts),
        120 + 34 * len(counts),
        "Neighbours by task (Table 3)",
        f"vectors of the column's task closer than {epsilon:.3g} (cosine) to those of the row's · higher = closer",
    )
    figure.add_heatmap(
        z=counts.to_numpy(),
        x=counts.columns,
        y=counts.index,
        colorscale=[[i / (len(SEQUENTIAL) - 1), colour] for i, colour in enumerate(SEQUENTIAL)],
        zmin=0,
        zmax=max(1, int(counts.to_numpy().max())),
        texttemplate="%{z}",
        xgap=1,
        ygap=1,
        hovertemplate="%{x} around %{y}: %{z}<extra></extra>",
    )
    figure.update_xaxes(type="category", tickangle=30)
    figure.update_yaxes(type="category", autorange="reversed")
    return figure
