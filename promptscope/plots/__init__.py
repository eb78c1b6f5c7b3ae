"""Figures, made from results only."""

import plotly.graph_objects as go

from promptscope.plots.heatmap import heatmap
from promptscope.plots.layer_curve import layer_curve
from promptscope.plots.theme import CATEGORICAL, DIVERGING, SEQUENTIAL, TEMPLATE
from promptscope.probes import ProbeResult

__all__ = ["CATEGORICAL", "DIVERGING", "SEQUENTIAL", "TEMPLATE", "heatmap", "layer_curve", "plot"]


def plot(result: ProbeResult) -> go.Figure:
    """Draw a result: layers by heads where it has both, else a curve along the layers.

    Raises:
        ProbeError: the result has no layers.
    """
    return heatmap(result) if {"layer", "head"} <= set(result.dims) else layer_curve(result)
