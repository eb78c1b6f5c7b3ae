"""Vectors as points in two dimensions, coloured by a label, with names on hover."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from promptscope.checks import checked
from promptscope.plots.theme import CATEGORICAL, titled_figure
from promptscope.statistics import Projection

_SYMBOLS = ("circle", "diamond", "square", "cross", "triangle-up")
_NAMES = {"pca": "PCA", "t-SNE": "t-SNE", "UMAP": "UMAP"}


@checked()
def projection_figure(
    projection: Projection, labels: pd.DataFrame, colour: str, hover: Sequence[str] | None = None, title: str = ""
) -> go.Figure:
    """Draw a projection of N vectors; *labels* is a table with one row for each of them.

    *colour* is the column that decides the colour (and the symbol, where there are more labels than colours); *hover*
    names the columns that are shown for a point, by default all. The subtitle says how well the picture represents the
    full space.

    Raises:
        ArgumentError: *labels* has another number of rows, or lacks a column.

    >>> from promptscope.statistics import pca_projection
    >>> import numpy as np
    >>> labels = pd.DataFrame({"task": ["a", "b"] * 5, "word": ["cat"] * 10})
    >>> figure = projection_figure(pca_projection(np.random.default_rng(0).normal(size=(10, 4))), labels, "task")
    >>> [trace.name for trace in figure.data]
    ['a', 'b']
    """
    columns = list(labels.columns) if hover is None else list(hover)
    missing = sorted({colour, *columns} - set(labels.columns))
    if missing or len(labels) != len(projection.points):
        raise ValueError(
            f"labels must have {len(projection.points)} rows and the columns {[colour, *columns]}, got "
            f"{len(labels)} rows and {list(labels.columns)}"
        )
    name = _NAMES[projection.method]
    shares = [f"{100 * share:.0f} %" for share in projection.explained_variance]
    about = f"trustworthiness {projection.trustworthiness:.2f} over {projection.n_neighbours} neighbours"
    about += (
        f" · explains {', '.join(shares)} of the variance"
        if shares
        else " · distances between far points cannot be interpreted"
    )
    figure = titled_figure(620, 480, title or f"{name}, by {colour}", about)
    text = ["<br>".join(f"{column}: {row[column]}" for column in columns) for _, row in labels.iterrows()]
    for number, label in enumerate(labels[colour].drop_duplicates()):
        at = (labels[colour] == label).to_numpy().nonzero()[0]
        figure.add_trace(
            go.Scatter(
                x=projection.points[at, 0],
                y=projection.points[at, 1],
                name=str(label),
                mode="markers",
                marker={
                    "size": 7,
                    "opacity": 0.8,
                    "color": CATEGORICAL[number % len(CATEGORICAL)],
                    "symbol": _SYMBOLS[number // len(CATEGORICAL) % len(_SYMBOLS)],
                },
                text=[text[i] for i in at.tolist()],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    figure.update_layout(legend={"orientation": "v", "x": 1.02, "y": 1.0, "yanchor": "top"}, margin={"r": 160})
    figure.update_xaxes(title_text=f"{name} 1", showticklabels=bool(shares))
    figure.update_yaxes(title_text=f"{name} 2", showticklabels=bool(shares))
    return figure
