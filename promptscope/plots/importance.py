"""Heat maps of models by prompt tokens: which token is important to which model."""

import numpy as np
import plotly.graph_objects as go

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.plots.heatmap import colour_axis
from promptscope.plots.theme import DIVERGING, index_ticks, new_figure
from promptscope.probes import ProbeResult


@checked()
def token_heatmap(result: ProbeResult) -> go.Figure:
    """Draw a heat map of models (rows) by prompt tokens (columns); hovering shows the number with its interval.

    The colour scale begins at zero for numbers that cannot be negative, is symmetric about zero for differences and
    Shapley values, and symmetric about one, on a logarithmic scale, for ratios.

    Raises:
        ProbeError: the result's dimensions are not `model` and `token`.

    >>> import numpy as np, promptscope as ps
    >>> numbers = np.random.default_rng(0).random((5, 2, 3))  # inputs, layers, heads
    >>> result = ps.ProbeResult.from_examples(numbers, dims=("model", "token"), units="nats")
    >>> token_heatmap(result).data[0].z.shape
    (2, 3)
    """
    if result.dims != ("model", "token"):
        raise ProbeError(
            f"token_heatmap() needs the dimensions model and token, and {result.name!r} has "
            f"{', '.join(result.dims)}: use ps.plots.plot"
        )
    models, tokens = (result.data[dim].values for dim in ("model", "token"))
    values = result.values.values
    cell = float(np.clip(560 / len(tokens), 12, 34))
    label_width = 12 + 6.5 * max(len(str(name)) for name in models)
    width = max(label_width + cell * len(tokens) + 120, 640)  # a title of one line
    height = max(cell * len(models), 100)
    figure = new_figure(width, height + 60, result)
    shown, axis = (np.log2(values), _ratio_axis(values)) if result.name == "ratio" else (values, colour_axis(result))
    if height < 150:  # else the labels of a short colour bar overlap
        bar = axis["colorbar"]
        bar |= {name: bar[name][::2] for name in ("tickvals", "ticktext") if name in bar} or {"nticks": 3}
    figure.add_trace(
        go.Heatmap(
            z=shown,
            x=tokens,
            y=[str(name) for name in models],
            coloraxis="coloraxis",
            xgap=1,
            ygap=1,
            text=_text(result),
            hovertemplate="<b>%{y}</b><br>token %{x}<br>%{text}<extra></extra>",
        )
    )
    figure.update_layout(coloraxis=axis, margin={"l": label_width, "r": 120})
    figure.update_xaxes(title_text="prompt token", tickmode="array", tickvals=index_ticks(tokens))
    figure.update_yaxes(type="category", autorange="reversed")
    return figure


def _ratio_axis(values: np.ndarray) -> dict:
    """Return a colour scale on which a half and a double are equally far from one."""
    finite = np.log2(values[np.isfinite(values) & (values > 0)])
    top = max(float(np.abs(finite).max()) if finite.size else 0.0, 1e-9)
    ticks = np.array([-1.0, -0.5, 0.0, 0.5, 1.0]) * top
    bar = {"title": {"text": "ratio", "font": {"size": 12}}, "x": 1.0, "xpad": 16, "len": 1.0}
    bar |= {"tickvals": ticks.tolist(), "ticktext": [f"{2**tick:.3g}" for tick in ticks]}
    return {"colorscale": list(DIVERGING), "cmin": -top, "cmax": top, "colorbar": bar}


def _text(result: ProbeResult) -> np.ndarray:
    text = np.vectorize(lambda value: f"{value:.4g}")(result.values.values).astype(object)
    if "low" in result.data and "high" in result.data:
        low, high = result.data["low"].values, result.data["high"].values
        text = text + np.vectorize(lambda a, b: f" [{a:.4g}, {b:.4g}]")(low, high).astype(object)
    return text
