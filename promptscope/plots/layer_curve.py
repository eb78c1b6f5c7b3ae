"""Curves along the layers, one line for each prompt, with intervals as bands."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from promptscope.checks import checked
from promptscope.plots.facets import facets
from promptscope.plots.theme import CATEGORICAL, index_ticks, legend_below, new_figure, with_alpha
from promptscope.probes import ProbeResult

_GRID = "#ECEEF1"
_DASHES = ("solid", "dot", "dash", "dashdot", "longdash", "longdashdot")


@checked()
def layer_curve(result: ProbeResult) -> go.Figure:
    """Draw the mean over heads by layer, one line for each prompt; bands are the 95 % intervals over inputs.

    With a second dimension (task, language), the colour shows the prompt and the dash the other dimension.

    Raises:
        ProbeError: the result has no dimension `layer`.

    >>> import numpy as np, promptscope as ps
    >>> numbers = np.random.default_rng(0).random((5, 2, 3))  # inputs, layers, heads
    >>> figure = layer_curve(ps.ProbeResult.from_examples({"v1": numbers, "v2": 2 * numbers}))
    >>> [line.name for line in figure.data if line.name]
    ['v1', 'v2']
    """
    curve = result.layer_curve()
    lines = facets(curve, ("layer",))
    layers = curve.data["layer"].values
    figure = new_figure(720, 340, curve)
    looks = _looks(curve.data, [dim for dim in curve.dims if dim != "layer"], len(lines))
    for (label, data), (colour, dash) in zip(lines, looks, strict=True):
        name = label or curve.title
        values, low, high = (np.asarray(data[v].values, dtype=float) for v in ("values", "low", "high"))
        if np.isfinite(low).all():
            figure.add_trace(
                go.Scatter(
                    x=np.concatenate([layers, layers[::-1]]),
                    y=np.concatenate([high, low[::-1]]),
                    mode="lines",
                    fill="toself",
                    fillcolor=with_alpha(colour, 0.16),
                    line={"width": 0},
                    hoverinfo="skip",
                    showlegend=False,
                    legendgroup=name,
                )
            )
        figure.add_trace(
            go.Scatter(
                x=layers,
                y=values,
                name=name,
                legendgroup=name,
                mode="lines+markers",
                line={"color": colour, "width": 2, "dash": dash},
                marker={"size": 6, "color": colour, "line": {"width": 1, "color": "white"}},
                customdata=np.stack([low, high], axis=1),
                hovertemplate=f"<b>{name}</b><br>layer %{{x}}<br>%{{y:.4g}} "
                "[%{customdata[0]:.4g}, %{customdata[1]:.4g}]<extra></extra>",
            )
        )
    figure.update_layout(showlegend=len(lines) > 1)
    legend_below(figure, [label for label, _ in lines])
    figure.update_xaxes(
        title_text="layer", tickmode="array", tickvals=index_ticks(layers), ticks="outside", tickcolor=_GRID
    )
    figure.update_yaxes(title_text=curve.units, showgrid=True, gridcolor=_GRID)
    if curve.range[0] == 0:
        figure.update_yaxes(rangemode="tozero")
    else:
        figure.update_yaxes(zeroline=True, zerolinecolor="#9AA1AC", zerolinewidth=1)
    return figure


def _looks(data: xr.Dataset, dims: Sequence[str], n: int) -> list[tuple[str, str]]:
    """Return colour and dash of each line; all are different as long as there are enough of them."""
    sizes = [data.sizes[dim] for dim in dims]
    if len(sizes) == 2 and sizes[0] <= len(CATEGORICAL) and sizes[1] <= len(_DASHES):
        return list(product(CATEGORICAL[: sizes[0]], _DASHES[: sizes[1]]))
    every = [(colour, dash) for dash in _DASHES for colour in CATEGORICAL]
    return [every[i % len(every)] for i in range(n)]
