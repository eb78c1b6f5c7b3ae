"""Figures of `train`: from tables and projections."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float
from plotly.subplots import make_subplots

from promptscope.plots import CATEGORICAL, SEQUENTIAL, projection_figure, titled_figure
from promptscope.statistics import Projection, pca_projection, tsne_projection, umap_projection
from recipes.token_splitting.per_run import main_runs

PERPLEXITY, UMAP_NEIGHBOURS, SEED = 30.0, 50, 1
"""Of Figures 1 and 2: scikit-learn's default perplexity, `random_state=1`, 50 neighbours."""


def by_count_figure(
    runs: pd.DataFrame, lines: Mapping[str, tuple[str, str]], title: str, about: str, whole: bool = True
) -> go.Figure:
    """Draw columns of `run_table` against the number of models: every run a point, means as lines, a facet per task.

    *lines* maps a name to its column and dash. *whole*: the axes run from 0 to 1; else each task has its own.
    """
    main = main_runs(runs)
    tasks = list(dict.fromkeys(main["task"]))
    figure = make_subplots(1, len(tasks), subplot_titles=tasks, shared_yaxes=whole)
    for place, task in enumerate(tasks, start=1):
        part = main[main["task"] == task]
        for (name, (column, dash)), colour in zip(lines.items(), CATEGORICAL, strict=False):
            means = part.groupby("models")[column].mean()
            shared = {"legendgroup": name, "row": 1, "col": place}
            figure.add_scatter(
                x=means.index.astype(str), y=means, name=name, mode="lines", showlegend=place == 1,
                line={"color": colour, "dash": dash}, hovertemplate="%{x} models: %{y:.3f}", **shared,
            )  # fmt: skip
            figure.add_scatter(
                x=part["models"].astype(str), y=part[column], mode="markers", showlegend=False, text=part["run"],
                marker={"color": colour, "size": 6, "opacity": 0.6}, hovertemplate="%{text}: %{y:.3f}<extra></extra>",
                **shared,
            )  # fmt: skip
    titled_figure(720, 370, title, about, figure)
    figure.update_layout(margin={"b": 90}, legend={"y": -0.2, "yanchor": "top"})
    figure.update_annotations(font={"size": 13})
    figure.update_xaxes(title_text="models", type="category")
    figure.update_yaxes(showgrid=True, gridcolor="#ECEEF1", **({"range": [-0.02, 1.02]} if whole else {}))
    return figure


def transfer_figure(transfer: pd.DataFrame, task: str) -> go.Figure:
    """Draw the loss of every prompt (rows) on every model (columns)."""
    part = transfer[transfer["task"] == task]
    losses = part.pivot_table(index="run", columns="model", values="loss", sort=False)
    own = part.pivot_table(index="run", columns="model", values="own", sort=False).astype(bool)
    marks = [["●" if cell else "" for cell in row] for row in own.to_numpy()]
    figure = go.Figure(
        go.Heatmap(
            z=losses.to_numpy(),
            x=list(losses.columns),
            y=list(losses.index),
            text=marks,
            texttemplate="%{text}",
            colorscale=[[i / (len(SEQUENTIAL) - 1), colour] for i, colour in enumerate(SEQUENTIAL)],
            zmin=0,
            colorbar={"title": "loss"},
            hovertemplate="%{y} on %{x}: %{z:.3f}<extra></extra>",
            xgap=1,
            ygap=1,
        )
    )
    title, about = f"{task}: every prompt on every model", "test loss; ● trained on this model"
    titled_figure(720, 90 + 20 * len(losses), title, about, figure)
    figure.update_yaxes(autorange="reversed", type="category")
    return figure


def projections(
    spaces: Mapping[str, Float[np.ndarray, "_ d"]],
    prompt: Float[np.ndarray, "k d"],
    needed_by: Sequence[str],
    title: str,
) -> dict[str, go.Figure]:
    """Draw embeddings of some models and the prompt's tokens by PCA, t-SNE and, where it is installed, UMAP.

    *needed_by* names for each token the model that it is assigned to, shown on hover.
    """
    vectors = np.concatenate([*spaces.values(), prompt]).astype(np.float64)
    labels = pd.DataFrame(
        [(name, "embedding") for name, rows in spaces.items() for _ in rows]
        + [("prompt token", f"token {i}, needed by {model}") for i, model in enumerate(needed_by)],
        columns=["of", "what"],
    )
    dims = min(50, *vectors.shape)
    found: dict[str, Projection] = {
        "pca": pca_projection(vectors),
        "tsne": tsne_projection(vectors, PERPLEXITY, "cosine", dims, seed=SEED),
    }
    with suppress(ImportError):  # an optional package: the page has one picture less
        found["umap"] = umap_projection(vectors, UMAP_NEIGHBOURS, metric="cosine", pca_dims=dims, seed=SEED)
    figures = {}
    for name, projection in found.items():
        figure = projection_figure(projection, labels, "of", title=title)
        # The tokens are few among thousands of points.
        figure.data[-1].marker.update(size=13, symbol="star", color="black", opacity=1.0)
        figures[name] = figure
    return figures
