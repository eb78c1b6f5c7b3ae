"""Scores of Patchscopes descriptions by source and target layer, for the prompt and its nulls."""

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.plots.null_bands import KIND_NAMES
from promptscope.plots.theme import SEQUENTIAL, titled_figure
from promptscope.readings import Patchscope


@checked()
def patchscope_figure(reading: Patchscope, score: str | None = None) -> go.Figure:
    """Draw a score by source and target layer: one grid for the prompt, one for the mean of each kind of null.

    All grids share a colour scale. *score* is by default the first. Hovering shows the description (for nulls, that of
    the first one of the kind).

    Raises:
        ProbeError: the reading has no scores, or not this one.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> describe = ps.readings.DescribePrompt((("Seoul", "the capital of Korea"),), placeholder="a")
    >>> reading = ps.readings.read_patchscope(
    ...     model, ps.SoftPrompt(2).bind(model), describe=describe, nulls=ps.readings.Nulls(random=1), max_new_tokens=2,
    ...     scores={"says capital": lambda text: float("capital" in text)},
    ... )
    >>> len(patchscope_figure(reading).data)
    2
    """
    if score is None and reading.scores:
        score = reading.scores[0]
    if score not in reading.scores:
        raise ProbeError(
            f"the reading has no score {score!r} to draw, only {list(reading.scores)}: pass scores= to read_patchscope"
        )
    grids = reading.data[score]
    kinds = [kind for kind in KIND_NAMES if kind in grids["kind"].values]
    sources, targets = grids["source"].values.tolist(), grids["target"].values.tolist()
    figure = make_subplots(1, len(kinds), shared_yaxes=True, subplot_titles=[KIND_NAMES[kind] for kind in kinds])
    figure = titled_figure(
        140 + len(kinds) * max(36 * len(targets), 130),
        60 + max(26 * len(sources), 120),
        f"Patchscopes: {score}",
        f"without any vectors written: {reading.unpatched_scores[score]:.3g} · layer −1: what enters layer 0",
        figure,
    )
    for number, kind in enumerate(kinds):
        chosen = grids.sel(of=grids["kind"] == kind)
        texts = reading.texts[reading.texts["of"] == str(chosen["of"].values[0])]
        figure.add_trace(
            go.Heatmap(
                z=chosen.mean("of").transpose("source", "target").values,
                x=targets,
                y=sources,
                customdata=texts.pivot(index="source", columns="target", values="text").loc[sources, targets].values,
                hovertemplate="source %{y}, target %{x}: %{z:.3g}<br>%{customdata}<extra></extra>",
                coloraxis="coloraxis",
                xgap=1,
                ygap=1,
            ),
            row=1,
            col=number + 1,
        )
    top = float(np.nanmax(grids.values))
    bar = {"title": {"text": score}, "len": 1.0}
    figure.update_layout(
        coloraxis={"colorscale": list(SEQUENTIAL), "cmin": 0.0, "cmax": top or 1.0, "colorbar": bar},
        margin={"r": 100},
    )
    figure.update_xaxes(title_text="target layer", type="category")
    figure.update_yaxes(type="category")
    figure.update_yaxes(title_text="source layer", col=1)
    figure.update_annotations(font={"size": 13})
    return figure
