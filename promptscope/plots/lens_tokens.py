"""The most likely tokens by the logit lens: layers by positions."""

import plotly.graph_objects as go

from promptscope.checks import checked
from promptscope.plots.theme import SEQUENTIAL, titled_figure
from promptscope.readings.logit_lens import LogitLens


@checked()
def lens_tokens_figure(lens: LogitLens, of: str = "prompt") -> go.Figure:
    """Draw the most likely token at each layer and position of a logit lens, the last layer at the top.

    *of* is what was read: `"prompt"`, or a null such as `"random 0"`. The colour is the token's probability; hovering
    lists the next most likely tokens.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> lens = ps.readings.read_logit_lens(model, ps.SoftPrompt(2).bind(model), nulls=ps.readings.Nulls(random=1))
    >>> lens_tokens_figure(lens).data[0].z.shape  # the embedding and 6 layers, by 2 positions
    (7, 2)
    """
    own = lens.top[lens.top["of"] == of]
    cells = own.assign(shown=[f"{t!r} {p:.3f}" for t, p in zip(own["token"], own["probability"], strict=True)])
    hover = cells.groupby(["layer", "position"])["shown"].apply("<br>".join).unstack()
    first = own[own["rank"] == 1].pivot(index="layer", columns="position")
    layers, positions = first.index.tolist(), first["token"].columns.tolist()
    figure = titled_figure(
        100 + 74 * len(positions),
        40 + 19 * len(layers),
        f"Logit lens at the positions of the {of if of == 'prompt' else of + ' prompt'}",
        "most likely next token after each layer (−1: what enters layer 0)",
    )
    figure.add_trace(
        go.Heatmap(
            z=first["probability"].values,
            x=positions,
            y=layers,
            text=first["token"].map(lambda token: repr(token)[1:-1][:10]).values,
            texttemplate="%{text}",
            textfont={"size": 11},
            customdata=hover.values,
            hovertemplate="layer %{y}, position %{x}<br>%{customdata}<extra></extra>",
            coloraxis="coloraxis",
            xgap=1,
            ygap=1,
        )
    )
    figure.update_layout(
        coloraxis={"colorscale": list(SEQUENTIAL), "cmin": 0.0, "cmax": 1.0, "colorbar_title_text": "probability"}
    )
    figure.update_xaxes(title_text="prompt position", type="category")
    figure.update_yaxes(title_text="layer", type="category")
    return figure
