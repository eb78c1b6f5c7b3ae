"""Figures of a run's history."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from promptscope.checks import checked
from promptscope.plots import CATEGORICAL, TEMPLATE


@checked()
def learning_curves(histories: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Draw each run's training loss by step: single steps in a pale colour, and their running mean.

    The running mean is over a twentieth of the run. *histories*: name -> `run.history`, a table with the columns `step`
    and `loss` (nats per token).

    >>> figure = learning_curves({"mine": pd.DataFrame({"step": [1, 2], "loss": [1.0, 0.5]})})
    >>> figure.layout.title.text
    '<b>Learning curves</b>'
    """
    figure = _figure("Learning curves", "step", "training loss (nats per token)")
    for name, colour, history in _coloured(histories):
        smooth = history["loss"].rolling(max(1, len(history) // 20), min_periods=1).mean()
        steps = history["step"]
        pale = {"color": colour, "width": 1}
        figure.add_scatter(
            x=steps, y=history["loss"], line=pale, opacity=0.25, hoverinfo="skip", showlegend=False, legendgroup=name
        )
        figure.add_scatter(x=steps, y=smooth, name=name, line={"color": colour, "width": 2}, legendgroup=name)
    figure.update_yaxes(rangemode="tozero")
    return figure


def norm_curves(histories: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Draw the mean L2 norm of each prompt's vectors by step."""
    figure = _figure("Norms of the prompts' vectors during training", "step", "mean L2 norm")
    for name, colour, history in _coloured(histories):
        figure.add_scatter(x=history["step"], y=history["prompt_norm"], name=name, line={"color": colour, "width": 2})
    figure.update_yaxes(rangemode="tozero")
    return figure


def validation_curves(histories: Mapping[str, pd.DataFrame]) -> go.Figure | None:
    """Draw the first validation metric by step, for the runs that were evaluated during training; None if none was."""
    figure = _figure("Validation during training", "step", "metric")
    for name, colour, history in _coloured(histories):
        metrics = [column for column in history if column.startswith("validation_")]
        if metrics:
            seen = history.dropna(subset=metrics[:1])
            label = f"{name}: {metrics[0].removeprefix('validation_')}"
            line = {"color": colour, "width": 2}
            figure.add_scatter(x=seen["step"], y=seen[metrics[0]], name=label, line=line, mode="lines+markers")
    seen = [value for trace in figure.data for value in trace.y]
    if seen and min(seen) >= 0 and max(seen) <= 1:  # most metrics are shares
        figure.update_yaxes(range=[0, 1.02])
    return figure if figure.data else None


def _coloured(histories: Mapping[str, pd.DataFrame]) -> list[tuple[str, str, pd.DataFrame]]:
    return [(name, CATEGORICAL[i % len(CATEGORICAL)], history) for i, (name, history) in enumerate(histories.items())]


def _figure(title: str, x: str, y: str) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        template=TEMPLATE,
        title={"text": f"<b>{title}</b>", "font": {"size": 16}, "pad": {"t": 16}},
        height=380,
        margin={"l": 64, "r": 24, "t": 60, "b": 90},
        legend={"y": -0.22, "yanchor": "top"},
        showlegend=True,
        hovermode="x unified",
    )
    figure.update_xaxes(title_text=x)
    figure.update_yaxes(title_text=y, showgrid=True, gridcolor="#ECEEF1")
    return figure
