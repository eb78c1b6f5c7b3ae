"""The recipe's figures, from tables and losses."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from promptscope.plots import CATEGORICAL, SEQUENTIAL, titled_figure
from recipes.token_splitting.source import MaskedLosses


def masking_figure(run: str, masked: MaskedLosses) -> go.Figure:
    """Draw the loss of every model with each token masked; one dark cell in a column: one model needs the token."""
    figure = go.Figure(
        go.Heatmap(
            z=masked.losses,
            x=[f"t{i}" for i in range(masked.losses.shape[1])],
            y=[f"MultiBERT {seed}" for seed in masked.models],
            colorscale=[[i / (len(SEQUENTIAL) - 1), colour] for i, colour in enumerate(SEQUENTIAL)],
            zmin=0,
            colorbar={"title": "loss"},
            hovertemplate="%{y} without %{x}: %{z:.3f}<extra></extra>",
            xgap=1,
            ygap=1,
        )
    )
    title, about = f"{run}: test loss with one token masked", "higher = the model needs the token more"
    titled_figure(720, 70 + 34 * len(masked.models), title, about, figure)
    figure.update_yaxes(autorange="reversed")
    return figure


def alignment_figure(table: pd.DataFrame) -> go.Figure:
    """Draw alignment by number of models compared with its permutation null, with the masked loss and the ratio."""
    table = table[table["metric"] == "cosine"]
    datasets = list(dict.fromkeys(table["dataset"]))
    figure = make_subplots(1, len(datasets), subplot_titles=datasets, shared_yaxes=True)
    for column, dataset in enumerate(datasets, start=1):
        for importance, colour in zip(("loss", "ratio"), CATEGORICAL, strict=False):
            part = table[(table["dataset"] == dataset) & (table["importance"] == importance)]
            for name, values, dash in (("observed", "observed", "solid"), ("null", "null_mean", "dot")):
                figure.add_scatter(
                    x=part["models"].astype(str),
                    y=part[values],
                    name=f"{importance}, {name}",
                    legendgroup=f"{importance}, {name}",
                    showlegend=column == 1,
                    mode="lines+markers",
                    line={"color": colour, "dash": dash, "width": 2 if dash == "solid" else 1.2},
                    customdata=np.stack([part["p_value"], part["kappa"]], axis=1),
                    hovertemplate="%{x} models: %{y:.3f}<br>exact p %{customdata[0]:.2g}, kappa %{customdata[1]:.2f}",
                    row=1,
                    col=column,
                )
    about = "share of tokens · need: loss without the token, or its ratio to the loss with all · dotted: null"
    titled_figure(720, 390, "Do the nearest words of a prompt token say which model needs it?", about, figure)
    figure.update_layout(margin={"b": 106}, legend={"y": -0.2, "yanchor": "top"})
    figure.update_annotations(font={"size": 13})
    figure.update_xaxes(title_text="models of the prompt", type="category")
    figure.update_yaxes(range=[0, 1], showgrid=True, gridcolor="#ECEEF1")
    return figure
