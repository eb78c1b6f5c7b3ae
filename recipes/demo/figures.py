"""The demo's own figures."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

import promptscope as ps
from promptscope.plots import CATEGORICAL, TEMPLATE

COLOURS = {
    "frozen model": "#9AA1AC",
    "random v1": "#B9DDF2",
    "v1": CATEGORICAL[0],
    "random v2": "#F3CDB0",
    "v2": CATEGORICAL[1],
}


def score_bars(scores: pd.DataFrame) -> go.Figure:
    """Draw accuracy by task, one bar per condition, with intervals."""
    figure = go.Figure()
    for condition, rows in scores.groupby("condition", sort=False):
        figure.add_bar(
            name=str(condition),
            x=rows["task"],
            y=rows["accuracy"],
            marker_color=COLOURS[str(condition)],
            error_y={
                "array": rows["high"] - rows["accuracy"],
                "arrayminus": rows["accuracy"] - rows["low"],
                "thickness": 1.2,
                "width": 3,
                "color": "#5B6270",
            },
            hovertemplate="<b>%{x}</b><br>" + str(condition) + " %{y:.1%}<extra></extra>",
        )
    _style(figure, "Accuracy on held-out inputs", 400)
    figure.update_yaxes(range=[0, 1.02], tickformat=".0%", showgrid=True, gridcolor="#ECEEF1")
    figure.update_layout(bargap=0.22, bargroupgap=0.06)
    return figure


def kl_along_layers(probed: Mapping[str, Mapping[str, ps.ProbeResult]]) -> go.Figure:
    """Draw attention KL by layer (mean over heads), one panel per task, one line per prompt."""
    columns = 2 if len(probed) > 1 else 1
    rows = -(-len(probed) // columns)
    figure = make_subplots(
        rows, columns, subplot_titles=list(probed), shared_xaxes=True, shared_yaxes=True, vertical_spacing=0.13
    )
    for i, results in enumerate(probed.values()):
        curve = results["attention_kl"].layer_curve().data
        for prompt in curve["prompt"].values:
            part = curve.sel(prompt=prompt)
            figure.add_scatter(
                x=part["layer"].values,
                y=part["values"].values,
                error_y={
                    "array": part["high"].values - part["values"].values,
                    "arrayminus": part["values"].values - part["low"].values,
                    "thickness": 1,
                    "width": 2,
                },
                name=str(prompt),
                legendgroup=str(prompt),
                showlegend=i == 0,
                mode="lines+markers",
                line={"color": COLOURS[str(prompt)], "width": 2, "dash": "dot" if "random" in str(prompt) else "solid"},
                row=i // columns + 1,
                col=i % columns + 1,
            )
    _style(figure, "Attention KL along the layers", 240 * rows + 150)
    figure.update_yaxes(showgrid=True, gridcolor="#ECEEF1", rangemode="tozero")
    figure.update_xaxes(title_text="layer", row=rows, dtick=1)
    figure.update_yaxes(title_text="nats", col=1)
    return figure


def attention_against_variability(heads: pd.DataFrame) -> go.Figure:
    """Draw every head: variability of the frozen model (x axis) and KL of v2 (y axis), one colour per task."""
    figure = go.Figure()
    chosen = heads[heads["prompt"] == "v2"]
    for colour, (task, rows) in zip(CATEGORICAL, chosen.groupby("task", sort=False), strict=False):
        figure.add_scatter(
            x=rows["variability"],
            y=rows["attention_kl"],
            mode="markers",
            name=str(task),
            marker={"size": 8, "color": colour, "opacity": 0.75, "line": {"width": 1, "color": "white"}},
            customdata=np.stack([rows["layer"], rows["head"]], axis=1),
            hovertemplate=f"<b>{task}</b><br>layer %{{customdata[0]}}, head %{{customdata[1]}}<br>"
            "variability %{x:.3f}, KL %{y:.3f} nats<extra></extra>",
        )
    _style(figure, "Each head: variability without a prompt, and how far v2 moves it", 420)
    figure.update_xaxes(title_text="attention variability of the frozen model", rangemode="tozero")
    figure.update_yaxes(title_text="attention KL of v2 (nats)", showgrid=True, gridcolor="#ECEEF1", rangemode="tozero")
    return figure


def _style(figure: go.Figure, title: str, height: int) -> None:
    figure.update_layout(
        template=TEMPLATE,
        title={"text": f"<b>{title}</b>", "font": {"size": 16}, "pad": {"t": 16}},
        height=height,
        margin={"l": 64, "r": 24, "t": 84, "b": 100},
        legend={"y": -70 / height, "yanchor": "top"},
    )
