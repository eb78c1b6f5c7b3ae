"""Curves by task: the figure that shows most ablations."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from promptscope.plots import CATEGORICAL, titled_figure

_GRID = "#ECEEF1"


def curve_figure(
    table: pd.DataFrame, x: str, y: str, by: str, title: str, about: str, log_x: bool = False, log_y: bool = False
) -> go.Figure:
    """Draw mean and range over seeds of *y* along *x*, a panel for each task, a line for each value of *by*.

    Where *x* holds names, there are points and no line: names have no order.
    """
    named = not pd.api.types.is_numeric_dtype(table[x])
    tasks = list(table["task"].unique())
    figure = make_subplots(
        len(tasks), 1, subplot_titles=tasks, vertical_spacing=0.25 / max(1, len(tasks)), shared_xaxes=True
    )
    figure = titled_figure(760, 90 + 220 * len(tasks), title, about, figure)
    for number, name in enumerate(table[by].unique()):
        colour = CATEGORICAL[number % len(CATEGORICAL)]
        for row, task in enumerate(tasks, 1):
            part = table[(table[by] == name) & (table["task"] == task)].dropna(subset=[y])
            found = part.groupby(x, sort=not named)[y].agg(["mean", "min", "max"])
            drawn = "markers" if named else "lines+markers" if len(found) < 30 else "lines"
            figure.add_scatter(
                x=found.index, y=found["mean"], name=str(name), legendgroup=str(name), showlegend=row == 1,
                mode=drawn, line={"color": colour, "width": 2},
                error_y={"type": "data", "symmetric": False, "array": found["max"] - found["mean"],
                         "arrayminus": found["mean"] - found["min"], "thickness": 1} if len(found) < 30 else None,
                hovertemplate=f"{name}, {task}<br>{x} %{{x}}: %{{y:.4g}}<extra></extra>", row=row, col=1,
            )  # fmt: skip
    figure.update_yaxes(showgrid=True, gridcolor=_GRID, type="log" if log_y else "linear", nticks=6 if log_y else None)
    figure.update_xaxes(type="log" if log_x else "category" if named else "linear")
    if log_x:  # Plotly's own ticks are the digits between powers of ten
        values = sorted(table[x].unique())
        figure.update_xaxes(tickmode="array", tickvals=values, ticktext=[f"{value:g}" for value in values])
    figure.update_xaxes(title_text=x, row=len(tasks))
    figure.update_layout(scattermode="group" if named else "overlay", scattergap=0.7)
    figure.update_layout(legend={"y": -90 / (220 * len(tasks)), "yanchor": "top"}, margin={"b": 110})
    return figure
