"""A table as a heat map: two dimensions of a result, with the numbers in the cells."""

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.plots.facets import facets
from promptscope.plots.heatmap import colour_axis
from promptscope.plots.theme import new_figure
from promptscope.probes import ProbeResult

_CELL, _GAP_X, _GAP_Y, _PER_ROW = 46.0, 34.0, 58.0, 3


@checked()
def matrix(result: ProbeResult, rows: str, columns: str, level: float = 0.05, **select: Any) -> go.Figure:
    """Draw the entries of *rows* by those of *columns*, one facet for each combination of the other dimensions.

    Each cell shows its number; if the result has p-values, those below *level* are marked with an asterisk. *select*
    picks entries of other dimensions: `matrix(scores, "task", "other", layer=3)`.

    Raises:
        ProbeError: the result lacks a dimension, or an entry to select.

    >>> import numpy as np, promptscope as ps
    >>> numbers = np.random.default_rng(0).random((5, 2, 3))  # inputs, layers, heads
    >>> result = ps.ProbeResult.from_examples(numbers, dims=("task", "other"), coords={"task": ["a", "b"]})
    >>> matrix(result, "task", "other").data[0].z.shape
    (2, 3)
    """
    drawn = _facets(result, (rows, columns), select)
    down, across = ([str(label) for label in result.data[dim].values] for dim in (rows, columns))
    per_row = min(len(drawn), _PER_ROW)
    n_rows = math.ceil(len(drawn) / per_row)
    facet_width, facet_height = max(_CELL * len(across), 140.0), max(0.6 * _CELL * len(down), 60.0)
    inner_width = per_row * facet_width + (per_row - 1) * _GAP_X
    inner_height = n_rows * facet_height + (n_rows - 1) * _GAP_Y
    figure = make_subplots(
        rows=n_rows,
        cols=per_row,
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=_GAP_X / inner_width if per_row > 1 else 0,
        vertical_spacing=_GAP_Y / inner_height if n_rows > 1 else 0,
        subplot_titles=[label for label, _ in drawn] if len(drawn) > 1 or drawn[0][0] else None,
    )
    width = 120 + inner_width + 120
    figure = new_figure(width, inner_height + 60, result, figure)
    for number, (label, data) in enumerate(drawn):
        figure.add_trace(
            go.Heatmap(
                z=data["values"].transpose(rows, columns).values,
                x=across,
                y=down,
                coloraxis="coloraxis",
                xgap=1,
                ygap=1,
                text=_text(data.transpose(rows, columns, ...), level),
                texttemplate="%{text}",
                textfont={"size": 11},
                hovertemplate=f"<b>{label or result.title}</b><br>%{{y}}, %{{x}}<br>%{{text}}<extra></extra>",
            ),
            row=number // per_row + 1,
            col=number % per_row + 1,
        )
    figure.update_layout(coloraxis=colour_axis(result), margin={"r": 120 + figure.layout.width - width, "b": 60})
    figure.update_xaxes(type="category")
    figure.update_yaxes(type="category", autorange="reversed")
    figure.update_annotations(font={"size": 13}, yshift=2)
    return figure


def _facets(result: ProbeResult, drawn: tuple[str, str], select: dict[str, Any]) -> list[tuple[str, xr.Dataset]]:
    for dim, label in select.items():
        if dim not in result.dims or label not in result.data[dim].values.tolist():
            known = result.data[dim].values.tolist() if dim in result.dims else list(result.dims)
            raise ProbeError(f"result {result.name!r} has no {dim} {label!r}; there are {known}")
    kept = [name for name, array in result.data.data_vars.items() if array.dims == result.dims]
    chosen = result.data[kept].sel(select)
    return facets(ProbeResult(result.name, chosen, title=result.title), drawn)


def _text(data: xr.Dataset, level: float) -> np.ndarray:
    text = np.vectorize(lambda value: "" if math.isnan(value) else f"{value:.2f}")(data["values"].values).astype(object)
    return text + np.where(data["p_value"].values < level, "*", "") if "p_value" in data else text
