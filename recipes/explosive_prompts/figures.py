"""The recipe's figures, from its tables."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from promptscope.plots import CATEGORICAL, DIVERGING, SEQUENTIAL, titled_figure

_GRID = "#ECEEF1"


def matrix_figure(table: pd.DataFrame, values: str, title: str, about: str) -> go.Figure:
    """Draw a number for every pair of tasks: rows are source tasks."""
    square = table.pivot(index="source", columns="target", values=values)
    order = list(table["source"].unique())
    square = square.loc[order, order]
    return _heat(square.to_numpy(), order, order, title, about, values == "cosine")


def heat_maps(cosines: dict[str, np.ndarray], task: str) -> dict[str, go.Figure]:
    """Draw the cosines of a prompt's vectors, a figure for each method (Figure 3)."""
    figures = {}
    for method, square in cosines.items():
        names = [str(i) for i in range(len(square))]
        about = f"cosine of every two vectors, {task}, first seed · 1 = same direction"
        figures[f"figure_3_{method.lower().replace('-', '_')}"] = _heat(
            square, names, names, f"Vectors of {method} (Figure 3)", about, True
        )
    return figures


def _heat(z: np.ndarray, x: list[str], y: list[str], title: str, about: str, signed: bool) -> go.Figure:
    figure = titled_figure(260 + 60 * len(x), 130 + 40 * len(y), title, about)
    colours = DIVERGING if signed else SEQUENTIAL
    figure.add_heatmap(
        z=z, x=x, y=y, colorscale=[[i / (len(colours) - 1), colour] for i, colour in enumerate(colours)],
        zmin=-1 if signed else 0, zmax=1 if signed else max(1.0, float(np.nanmax(z))),
        texttemplate="%{z:.2f}", xgap=1, ygap=1,
    )  # fmt: skip
    figure.update_xaxes(type="category", tickangle=30 if max(map(len, x)) > 3 else 0)
    figure.update_yaxes(type="category", autorange="reversed")
    return figure


def accuracy_and_norm(scores: pd.DataFrame) -> go.Figure:
    """Draw score against norm of each structure (Figure 9, right)."""
    figure = titled_figure(
        640,
        400,
        "Score and norm by structure (Figure 9)",
        "each point: one task, mean over seeds · higher = longer vectors",
    )
    for number, (name, part) in enumerate(scores.groupby("variant", sort=False)):
        means = part.groupby("task")[["score", "norm_end"]].mean()
        figure.add_scatter(x=means["score"], y=means["norm_end"], text=means.index, name=str(name), mode="markers",
                           marker={"size": 9, "color": CATEGORICAL[number % len(CATEGORICAL)]},
                           hovertemplate="%{text}: score %{x:.3f}, norm %{y:.4g}<extra></extra>")  # fmt: skip
    figure.update_yaxes(type="log", nticks=6, title_text="L2 norm", showgrid=True, gridcolor=_GRID)
    figure.update_xaxes(title_text="test score")
    figure.update_layout(legend={"y": -0.2, "yanchor": "top"}, margin={"b": 110})
    return figure


def step_figure(steps: pd.DataFrame) -> go.Figure:
    """Draw how far a step moves EPT's vector against its norm: predicted and measured."""
    figure = titled_figure(
        640,
        400,
        "A step of EPT grows with the norm",
        "step length over that of a plain prompt · line: predicted · points: measured",
    )
    ordered = steps.sort_values("norm")
    figure.add_scatter(
        x=ordered["norm"],
        y=ordered["measured"],
        name="measured",
        mode="markers",
        marker={"color": CATEGORICAL[0], "size": 8},
    )
    figure.add_scatter(
        x=ordered["norm"],
        y=ordered["predicted"],
        name="predicted (bound)",
        mode="lines",
        line={"color": CATEGORICAL[1]},
    )
    figure.update_xaxes(type="log", nticks=6, title_text="L2 norm")
    figure.update_yaxes(type="log", nticks=6, title_text="step, in plain steps", showgrid=True, gridcolor=_GRID)
    return figure
