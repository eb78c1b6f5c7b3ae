"""Distances from prompt vectors to the nearest token, compared with random vectors and with tokens themselves."""

import numpy as np
import plotly.graph_objects as go

from promptscope.checks import checked
from promptscope.plots.null_bands import KIND_COLOURS, KIND_NAMES
from promptscope.plots.theme import titled_figure
from promptscope.readings import NearestTokens

_UNITS = {"cosine": "cosine distance", "l2": "L2 distance", "dot": "minus the dot product"}


@checked()
def nearest_tokens_figure(reading: NearestTokens) -> go.Figure:
    """Draw the distance from each vector to its nearest token: one column for each kind of prompt, one for tokens.

    The last column has the distances from tokens to their own nearest neighbours. Hovering names the nearest tokens of
    a vector.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> prompt = ps.SoftPrompt(2).bind(model)
    >>> reading = ps.readings.read_nearest_tokens(model, prompt, n=1)
    >>> len(nearest_tokens_figure(reading).data) > 0
    True
    """
    table = reading.table
    kinds = [kind for kind in KIND_NAMES if kind in set(table["kind"])]
    figure = titled_figure(
        140 + 110 * (len(kinds) + 1),
        340,
        "Distance to the nearest token",
        f"{_UNITS[reading.metric]}, lower = nearer · right: distances from {len(reading.reference)} "
        "tokens to their own nearest token",
    )
    for kind in kinds:
        rows = table[table["kind"] == kind]
        names = rows.groupby(["of", "position"], sort=False)["token"].apply(lambda tokens: ", ".join(map(repr, tokens)))
        first = rows[rows["rank"] == 1]
        figure.add_trace(
            go.Box(
                y=first["distance"],
                name=KIND_NAMES[kind],
                boxpoints="all",
                pointpos=0,
                jitter=0.5,
                fillcolor="rgba(0, 0, 0, 0)",
                line={"color": KIND_COLOURS[kind], "width": 1},
                marker={"color": KIND_COLOURS[kind], "size": 5, "opacity": 0.7},
                text=names.loc[list(zip(first["of"], first["position"], strict=True))],
                customdata=np.stack([first["position"], first["percentile"]], axis=1),
                hovertemplate="position %{customdata[0]}: %{text}<br>%{y:.4g}, percentile %{customdata[1]:.1f}"
                "<extra></extra>",
            )
        )
    figure.add_trace(
        go.Violin(
            y=reading.reference, name="vocabulary", line={"color": "#9AA1AC", "width": 1}, points=False, spanmode="hard"
        )
    )
    figure.update_layout(showlegend=False)
    figure.update_yaxes(title_text=_UNITS[reading.metric], showgrid=True, gridcolor="#ECEEF1")
    return figure
