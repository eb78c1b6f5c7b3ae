"""Bars: one number for each entry of a dimension, with its interval."""

import numpy as np
import plotly.graph_objects as go

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.plots.theme import CATEGORICAL, new_figure
from promptscope.probes import ProbeResult


@checked()
def bars(result: ProbeResult) -> go.Figure:
    """Draw a result of one dimension as bars, the first entry at the top; lines are the 95 % intervals over inputs.

    Raises:
        ProbeError: the result has more than one dimension.

    >>> import numpy as np, promptscope as ps
    >>> numbers = np.random.default_rng(0).random((5, 2, 3))  # inputs, layers, heads
    >>> bars(ps.ProbeResult.from_examples(numbers[:, 0], dims=("head",))).data[0].type
    'bar'
    """
    if len(result.dims) > 1:
        raise ProbeError(
            f"bars() draws a result of one dimension, and {result.name!r} has "
            f"{', '.join(result.dims)}: select entries first, or use ps.plots.plot"
        )
    values, low, high = (np.atleast_1d(np.asarray(result.data[v].values, float)) for v in ("values", "low", "high"))
    names = [str(label) for label in result.data[result.dims[0]].values] if result.dims else [result.title]
    figure = new_figure(720, 120 + 26 * len(names), result)
    figure.add_trace(
        go.Bar(
            x=values,
            y=names,
            orientation="h",
            marker={"color": CATEGORICAL[0]},
            error_x={"type": "data", "symmetric": False, "array": high - values, "arrayminus": values - low},
            customdata=np.stack([low, high], axis=1),
            hovertemplate="<b>%{y}</b><br>%{x:.4g} [%{customdata[0]:.4g}, %{customdata[1]:.4g}]<extra></extra>",
        )
    )
    figure.update_xaxes(title=result.units)
    figure.update_yaxes(autorange="reversed", automargin=True)
    return figure
