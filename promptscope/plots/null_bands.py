"""Colours and names of the kinds of prompt in a reading, the same in every figure."""

import plotly.graph_objects as go

from promptscope.plots.theme import CATEGORICAL, with_alpha
from promptscope.readings.nulls import Kind

KIND_COLOURS: dict[Kind, str] = {
    "prompt": CATEGORICAL[0],
    "random": CATEGORICAL[6],
    "untrained": CATEGORICAL[4],
    "wayward": CATEGORICAL[1],
}
"""Colour of the prompt and of each of its nulls."""

KIND_NAMES: dict[Kind, str] = {
    "prompt": "prompt",
    "random": "random, same norms",
    "untrained": "untrained",
    "wayward": "wayward",
}
"""Name of the prompt and of each of its nulls, in legends."""


def band(x: list, low: list, high: list, kind: Kind) -> go.Scatter:
    """Return the area between *low* and *high* along *x*."""
    return go.Scatter(
        x=[*x, *reversed(x)],
        y=[*high, *reversed(low)],
        fill="toself",
        fillcolor=with_alpha(KIND_COLOURS[kind], 0.16),
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        legendgroup=kind,
    )
