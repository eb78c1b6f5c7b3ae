"""Heat maps of layers by heads, one facet for each prompt, with one colour scale for all."""

import math

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from promptscope.checks import checked
from promptscope.plots.facets import facets
from promptscope.plots.theme import DIVERGING, SEQUENTIAL, index_ticks, new_figure
from promptscope.probes import ProbeResult

_PER_ROW = 4


@checked()
def heatmap(result: ProbeResult) -> go.Figure:
    """Draw a heat map of layers (rows, layer 0 at the top) by heads (columns), one facet for each prompt.

    All facets share the colour scale: it begins at zero for numbers that cannot be negative, and is symmetric about
    zero for differences. Hovering shows the number with its interval.

    Raises:
        ProbeError: the result has no dimension `layer` or `head`.

    >>> import numpy as np, promptscope as ps
    >>> numbers = np.random.default_rng(0).random((5, 2, 3))  # inputs, layers, heads
    >>> figure = heatmap(ps.ProbeResult.from_examples({"my prompt": numbers}, name="mine"))
    >>> figure.data[0].z.shape
    (2, 3)
    """
    drawn = facets(result, ("layer", "head"))
    layers, heads = (result.data[dim].values for dim in ("layer", "head"))
    columns = min(len(drawn), _PER_ROW)
    rows = math.ceil(len(drawn) / columns)
    cell = float(np.clip(640 / max(columns * len(heads), 1.4 * rows * len(layers)), 7, 30))
    facet_width, facet_height = max(cell * len(heads), 110), max(cell * len(layers), 90)
    gap_x, gap_y = 34.0, 58.0
    inner_width = columns * facet_width + (columns - 1) * gap_x
    inner_height = rows * facet_height + (rows - 1) * gap_y
    figure = make_subplots(
        rows=rows,
        cols=columns,
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=gap_x / inner_width if columns > 1 else 0,
        vertical_spacing=gap_y / inner_height if rows > 1 else 0,
        subplot_titles=[label for label, _ in drawn] if len(drawn) > 1 or drawn[0][0] else None,
    )
    width = 64 + inner_width + 120
    figure = new_figure(width, inner_height + 60, result, figure)
    for number, (label, data) in enumerate(drawn):
        figure.add_trace(
            go.Heatmap(
                z=data["values"].transpose("layer", "head").values,
                x=heads,
                y=layers,
                coloraxis="coloraxis",
                xgap=1,
                ygap=1,
                text=_hover_text(data),
                hovertemplate=f"<b>{label or result.title}</b><br>"
                "layer %{y}, head %{x}<br>%{text}<extra></extra>",
            ),
            row=number // columns + 1,
            col=number % columns + 1,
        )
    figure.update_layout(coloraxis=colour_axis(result))
    # A figure made wider for its title keeps its cells as they are.
    figure.update_layout(margin={"r": 120 + figure.layout.width - width, "b": 60})
    figure.update_xaxes(tickmode="array", tickvals=index_ticks(heads), constrain="domain")
    figure.update_yaxes(tickmode="array", tickvals=index_ticks(layers), autorange="reversed")
    figure.update_xaxes(title_text="head", row=rows)
    figure.update_yaxes(title_text="layer", col=1)
    figure.update_annotations(font={"size": 13}, yshift=2)
    return figure


def colour_axis(result: ProbeResult) -> dict:
    """Return one colour scale for all facets: from the lower end of the range, or symmetric about zero."""
    values = result.values.values
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    bar = {
        "title": {"text": result.units.replace(", ", "<br>"), "font": {"size": 12}},
        "x": 1.0,
        "xpad": 16,
        "len": 1.0,
    }
    if (result.range[0] is None or result.range[0] < 0) and low < 0:
        top = max(-low, high)
        return {"colorscale": list(DIVERGING), "cmin": -top, "cmax": top, "colorbar": bar}
    start = max(result.range[0], 0.0) if result.range[0] is not None else low
    return {"colorscale": list(SEQUENTIAL), "cmin": start, "cmax": max(high, start + 1e-12), "colorbar": bar}


def _hover_text(data: xr.Dataset) -> np.ndarray:
    tables = {name: data[name].transpose("layer", "head").values for name in data.data_vars}
    text = np.vectorize(lambda value: f"{value:.4g}")(tables["values"]).astype(object)
    if "low" in tables and "high" in tables:
        text = text + np.vectorize(lambda a, b: f" [{a:.4g}, {b:.4g}]")(tables["low"], tables["high"]).astype(object)
    if "p_value" in tables:
        text = text + np.vectorize(lambda p: f", p = {p:.2g}")(tables["p_value"]).astype(object)
    return text
