"""Average distances within groups, compared with those of random vectors."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from promptscope.checks import checked
from promptscope.plots.theme import CATEGORICAL, titled_figure

_WIDEST = 740
"""Width of a figure in a window of 800 pixels; where facets need more, each has a row of its own."""


@checked()
def group_distances_figure(
    groups: Mapping[str, Mapping[Any, float]],
    references: Mapping[str, float],
    units: str = "cosine distance",
    title: str = "Average distance within groups",
) -> go.Figure:
    """Draw the average distance within each group as bars; lower = closer together.

    Args:
        groups: facet -> (group -> distance), such as the results of `ps.statistics.group_mean_distances` for each way
            of grouping (position, task, word). A facet with many bars has a row of its own.
        references: name -> distance, drawn as lines through all facets, such as the mean distance of random tokens.
        units, title: texts of the figure.

    Reference: Bakalova, *Are soft prompts actually not interpretable?*, Figures 3 and 5.

    >>> figure = group_distances_figure({"task": {"a": 0.5, "b": 0.6}}, {"random tokens": 0.9})
    >>> list(figure.data[0].y)
    [0.5, 0.6]
    """
    widths = [max(len(means), 2) for means in groups.values()]
    side_by_side = 120 + 34 * sum(widths) + 40 * len(groups)
    stacked = side_by_side > _WIDEST
    bar = float(np.clip((_WIDEST - 60) / max(widths), 16, 34))
    rows, columns = (len(groups), 1) if stacked else (1, len(groups))
    figure = make_subplots(
        rows,
        columns,
        shared_yaxes=True,
        column_widths=None if stacked else widths,
        vertical_spacing=0.55 / rows if stacked else None,
        subplot_titles=[f"by {g}" for g in groups]
        if not stacked
        else [f"{g}, {len(m)} bars" for g, m in groups.items()],
    )
    lines = ", ".join(f"{name} {value:.3g}" for name, value in references.items())
    width, height = (60 + bar * max(widths), 90 + 260 * rows) if stacked else (side_by_side, 320)
    figure = titled_figure(width, height, title, f"lower = closer together · {lines}", figure)
    for number, means in enumerate(groups.values()):
        figure.add_trace(
            go.Bar(
                x=[str(label) for label in means],
                y=list(means.values()),
                marker={"color": CATEGORICAL[number % len(CATEGORICAL)]},
                showlegend=False,
                hovertemplate="%{x}: %{y:.4g}<extra></extra>",
            ),
            row=number + 1 if stacked else 1,
            col=1 if stacked else number + 1,
        )
    for number, (name, value) in enumerate(references.items()):
        line = {"color": CATEGORICAL[-1 - number % len(CATEGORICAL)], "dash": "dash", "width": 1.5}
        figure.add_hline(y=value, line=line)
        # A line across the picture has no entry in the legend.
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="lines", line=line, name=name), row=1, col=1)
    figure.update_xaxes(
        type="category", tickangle=90 if stacked else 45, tickfont={"size": 8} if stacked and bar < 20 else None
    )
    figure.update_yaxes(showgrid=True, gridcolor="#ECEEF1", rangemode="tozero")
    figure.update_yaxes(title_text=units, col=1)
    figure.update_annotations(font={"size": 12})
    below = -0.5 / rows
    figure.update_layout(legend={"y": below, "yanchor": "top"}, margin={"b": 170}, height=figure.layout.height + 60)
    return figure
