"""Principal components: one point for each vector, one facet for each layer."""

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.plots.theme import CATEGORICAL, new_figure
from promptscope.probes import ProbeResult

_SYMBOLS = ("circle", "diamond-open", "x-thin-open", "square-open", "triangle-up-open")
_PER_ROW, _FACET, _GAP = 4, 178.0, 44.0


@checked()
def components(result: ProbeResult, layers: Sequence[int] | None = None) -> go.Figure:
    """Draw the first two principal components, one facet for each of *layers* (by default all).

    Axes give each component's share of the variance. The colour is the task, if the prompts have one, otherwise the
    prompt; the symbol is the language, if known.

    Raises:
        ProbeError: the result is not a PCA of two or more components, or a layer is not in it.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> prompts = {name: ps.SoftPrompt(3, seed=seed).bind(model) for seed, name in enumerate("ab")}
    >>> result = ps.probe(model, prompts, ps.load_task("continent_en"), "residual_pca", limit=4, progress=False)
    >>> len(components(result["residual_pca"], layers=[5]).data)  # without a prompt, and under each
    3
    """
    if not {"layer", "component"} <= set(result.dims) or result.data.sizes["component"] < 2:
        raise ProbeError(
            f"components() draws a PCA of at least two components, and {result.name!r} has the dimensions {result.dims}"
        )
    known = result.data["layer"].values.tolist()
    chosen = known if layers is None else list(layers)
    unknown = [layer for layer in chosen if layer not in known]
    if unknown or not chosen:
        raise ProbeError(f"result {result.name!r} has no layers {unknown or chosen}; it has {known}")
    per_row = min(len(chosen), _PER_ROW)
    n_rows = math.ceil(len(chosen) / per_row)
    width, height = (n * _FACET + (n - 1) * _GAP for n in (per_row, n_rows))
    figure = make_subplots(
        rows=n_rows,
        cols=per_row,
        horizontal_spacing=_GAP / width if per_row > 1 else 0,
        vertical_spacing=_GAP / height if n_rows > 1 else 0,
        subplot_titles=[_label(result, layer) for layer in chosen],
    )
    figure = new_figure(64 + width + 24, height + 100, result, figure)
    prompts = result.data["prompt"].values.tolist()
    tasks, languages = (_of_prompts(result, label) for label in ("task", "language"))
    colours = {label: CATEGORICAL[i % len(CATEGORICAL)] for i, label in enumerate(dict.fromkeys(tasks or prompts))}
    symbols = {label: _SYMBOLS[i % len(_SYMBOLS)] for i, label in enumerate(dict.fromkeys(languages))}
    for number, layer in enumerate(chosen):
        for i, prompt in enumerate(prompts):
            points = result.values.sel(layer=layer, prompt=prompt).transpose(..., "component").values
            figure.add_trace(
                go.Scatter(
                    x=points[:, 0],
                    y=points[:, 1],
                    name=str(prompt),
                    legendgroup=str(prompt),
                    showlegend=number == 0,
                    mode="markers",
                    marker={
                        "size": 6,
                        "opacity": 0.75,
                        "color": colours[(tasks or prompts)[i]],
                        "symbol": symbols[languages[i]] if languages else _SYMBOLS[0],
                    },
                    hovertemplate=f"<b>{prompt}</b><br>%{{x:.3g}}, %{{y:.3g}}<extra></extra>",
                ),
                row=number // per_row + 1,
                col=number % per_row + 1,
            )
    figure.update_xaxes(showticklabels=False)
    figure.update_yaxes(showticklabels=False)
    figure.update_layout(legend={"y": -60 / (height + 100), "yanchor": "top"})
    figure.update_annotations(font={"size": 12})
    return figure


def _label(result: ProbeResult, layer: int) -> str:
    where = f"layer {layer}" if layer >= 0 else "embeddings"
    shares = result.data["explained_variance"].sel(layer=layer).values[:2]
    return where + ": " + ", ".join(f"{100 * share:.0f} %" for share in np.nan_to_num(shares))


def _of_prompts(result: ProbeResult, label: str) -> list[str]:
    return result.data[label].values.tolist() if label in result.data.coords else []
