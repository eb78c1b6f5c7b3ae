"""Figures, made from results alone."""

import plotly.graph_objects as go

from promptscope.checks import checked
from promptscope.plots.bars import bars
from promptscope.plots.components import components
from promptscope.plots.export import save_figure
from promptscope.plots.group_distances import group_distances_figure
from promptscope.plots.heatmap import heatmap
from promptscope.plots.importance import token_heatmap
from promptscope.plots.layer_curve import layer_curve
from promptscope.plots.lens_tokens import lens_tokens_figure
from promptscope.plots.logit_lens import logit_lens_figure
from promptscope.plots.matrix import matrix
from promptscope.plots.nearest_tokens import nearest_tokens_figure
from promptscope.plots.patchscope import patchscope_figure
from promptscope.plots.projection import projection_figure
from promptscope.plots.theme import CATEGORICAL, DIVERGING, SEQUENTIAL, TEMPLATE, titled_figure, with_alpha
from promptscope.probes import ProbeResult

__all__ = [
    "CATEGORICAL",
    "DIVERGING",
    "SEQUENTIAL",
    "TEMPLATE",
    "bars",
    "components",
    "group_distances_figure",
    "heatmap",
    "layer_curve",
    "lens_tokens_figure",
    "logit_lens_figure",
    "matrix",
    "nearest_tokens_figure",
    "patchscope_figure",
    "plot",
    "projection_figure",
    "save_figure",
    "titled_figure",
    "token_heatmap",
    "with_alpha",
]


@checked()
def plot(result: ProbeResult) -> go.Figure:
    """Draw any result with the figure that fits its dimensions.

    Layers by heads: `heatmap`; models by prompt tokens: `token_heatmap`; a PCA: `components`; a layer dimension alone,
    or with prompts and tasks: `layer_curve`; otherwise a `matrix`, or `bars` for a single dimension.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> prompt = ps.SoftPrompt(2).bind(model)
    >>> found = ps.probe(model, prompt, task, "attention_mass", limit=2, progress=False)
    >>> plot(found["attention_mass"]).layout.title.text is not None
    True
    """
    dims = set(result.dims)
    if dims == {"model", "token"}:
        return token_heatmap(result)
    if "component" in dims:
        return components(result)
    if "layers" in dims:
        return matrix(result, "task" if "task" in dims else "prompt", "layers")
    if {"layer", "head"} <= dims:
        return heatmap(result)
    if "layer" in dims:
        return layer_curve(result)
    return matrix(result, result.dims[-2], result.dims[-1]) if len(dims) > 1 else bars(result)
