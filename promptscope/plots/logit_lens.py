"""A quantity of the logit lens by layer, with its nulls."""

import plotly.graph_objects as go

from promptscope.checks import checked
from promptscope.errors import ProbeError, nearest
from promptscope.plots.null_bands import KIND_COLOURS, KIND_NAMES, band
from promptscope.plots.theme import titled_figure
from promptscope.readings.logit_lens import UNITS, LogitLens
from promptscope.readings.nulls import Kind

_TITLES = {
    "entropy": ("Logit lens: entropy", "lower = more certain of the next token"),
    "kl_to_last": ("Logit lens: KL to the last layer", "0 = the same prediction as after the last layer"),
    "label_mass": ("Logit lens: probability of the label words", "higher = label words are more likely"),
}
_LINES: dict[Kind, tuple[str, str]] = {
    "prompt": ("value", "solid"),
    "random": ("random", "dash"),
    "untrained": ("untrained", "dot"),
    "wayward": ("wayward", "dashdot"),
}


@checked()
def logit_lens_figure(lens: LogitLens, quantity: str = "entropy") -> go.Figure:
    """Draw a quantity of a logit lens by layer: the mean over positions, its interval over positions, and the nulls.

    The grey band holds 95 % of the random prompts. *quantity* is `entropy`, `kl_to_last` or `label_mass`.

    Raises:
        ProbeError: a quantity that was not read.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> lens = ps.readings.read_logit_lens(model, ps.SoftPrompt(2).bind(model), nulls=ps.readings.Nulls(random=1))
    >>> figure = logit_lens_figure(lens)
    >>> len(figure.data) > 0
    True
    """
    if quantity not in lens.quantities:
        known = list(lens.quantities)
        hint = (
            " label_mass needs label_words=... in read_logit_lens."
            if quantity == "label_mass"
            else nearest(quantity, known)
        )
        raise ProbeError(f"quantity must be one of {known} for this logit lens, got {quantity!r}.{hint}")
    table = lens.against_null().query("quantity == @quantity")
    title, direction = _TITLES[quantity]
    figure = titled_figure(720, 340, title, f"{direction} · mean over {lens.data.sizes['position']} prompt positions")
    layers = table["layer"].tolist()
    if table["random"].notna().all():
        figure.add_trace(band(layers, table["random_low"].tolist(), table["random_high"].tolist(), "random"))
    if table["low"].notna().all():
        figure.add_trace(band(layers, table["low"].tolist(), table["high"].tolist(), "prompt"))
    for kind, (column, dash) in _LINES.items():
        if table[column].isna().any():
            continue
        figure.add_trace(
            go.Scatter(
                x=layers,
                y=table[column],
                name=KIND_NAMES[kind],
                legendgroup=kind,
                mode="lines+markers",
                line={"color": KIND_COLOURS[kind], "width": 2, "dash": dash},
                marker={"size": 6},
                hovertemplate=f"<b>{KIND_NAMES[kind]}</b><br>layer %{{x}}: %{{y:.4g}}<extra></extra>",
            )
        )
    figure.update_xaxes(title_text="layer (−1: what enters layer 0)", ticks="outside", dtick=max(1, len(layers) // 16))
    figure.update_yaxes(title_text=UNITS[quantity], showgrid=True, gridcolor="#ECEEF1", rangemode="tozero")
    return figure
