"""Shares of an effect as lines along layers, as a grid, or as bars; in nats where shares are undefined."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from promptscope.plots.theme import CATEGORICAL, DIVERGING, TEMPLATE, with_alpha
from promptscope.probes import ProbeResult

_GRID = "#ECEEF1"
_NULL_DASHES = ("dot", "dash", "dashdot", "longdash")
Band = tuple[Collection[Any], Collection[Any], Collection[Any] | None, Collection[Any] | None]
"""x, y, and the ends of the interval if there is one."""


def is_share(result: ProbeResult) -> bool:
    """Return whether a result has shares, or only nats because shares are undefined."""
    return bool(np.isfinite(result.values.values).any())


def cells(result: ProbeResult) -> dict[str, np.ndarray]:
    """Return `values`, `low` and `high` as shares, or in nats where shares are undefined."""
    names = ("values", "low", "high") if is_share(result) else ("nats", "nats_low", "nats_high")
    return dict(zip(("values", "low", "high"), (result.data[name].values for name in names), strict=True))


def lines(
    bands: Mapping[str, Band], title: str, x_title: str, y_title: str, is_percent: bool = True, reference: bool = True
) -> go.Figure:
    """Draw lines with their intervals as bands; nulls (names that begin with "random" or "no") are grey and dashed.

    With *reference*, there are horizontal lines at 0 and 1.
    """
    figure = go.Figure()
    nulls = [name for name in bands if name.startswith(("random", "no "))]
    for number, (name, (x, y, low, high)) in enumerate(bands.items()):
        dash = _NULL_DASHES[nulls.index(name) % len(_NULL_DASHES)] if name in nulls else "solid"
        colour = "#8A919E" if name in nulls else CATEGORICAL[number % len(CATEGORICAL)]
        if low is not None and high is not None and np.isfinite(np.asarray(low, dtype=float)).any():
            figure.add_scatter(
                x=[*x, *list(x)[::-1]], y=[*high, *list(low)[::-1]], fill="toself", mode="lines", line={"width": 0},
                fillcolor=with_alpha(colour, 0.14), hoverinfo="skip", showlegend=False, legendgroup=name,
            )  # fmt: skip
        text = ".0%" if is_percent else ".3f"
        figure.add_scatter(
            x=list(x), y=list(y), name=name, legendgroup=name, mode="lines+markers",
            line={"color": colour, "width": 2, "dash": dash}, marker={"size": 6},
            hovertemplate=f"<b>{name}</b><br>{x_title} %{{x}}: %{{y:{text}}}<extra></extra>",
        )  # fmt: skip
    _style(figure, title, 330, len(bands) > 1)
    every = [at for x, *_ in bands.values() for at in x]
    few = bool(every) and max(every) - min(every) < 10  # layers, tokens, heads: there is none between two of them
    figure.update_xaxes(title_text=x_title, dtick=1 if few else None)
    figure.update_yaxes(title_text=y_title, showgrid=True, gridcolor=_GRID, tickformat=".0%" if is_percent else None)
    if is_percent and reference:
        for level in (0, 1):
            figure.add_hline(y=level, line={"color": "#9AA1AC", "width": 1, "dash": "dot" if level else "solid"})
    return figure


def grid(
    z: np.ndarray,
    x: Collection[Any],
    y: Collection[Any],
    title: str,
    x_title: str,
    y_title: str,
    text: np.ndarray,
    is_percent: bool = True,
) -> go.Figure:
    """Draw a grid of numbers, with colours symmetric about zero; hovering shows the number with its interval."""
    finite = z[np.isfinite(z)]
    top = max(float(np.abs(finite).max()) if finite.size else 0.0, 1e-9)
    cell = float(np.clip(300 / max(len(y), 1), 12, 30))
    figure = go.Figure(
        go.Heatmap(
            z=z, x=[str(value) for value in x], y=[str(value) for value in y], text=text, xgap=1, ygap=1,
            colorscale=list(DIVERGING), zmin=-top, zmax=top,
            colorbar={
                "thickness": 12, "outlinewidth": 0, "tickformat": ".0%" if is_percent else None,
                "tickfont": {"size": 11}, "nticks": 3 if cell * len(y) < 100 else None,  # more of them would overlap
            },
            hovertemplate=f"{y_title} <b>%{{y}}</b>, {x_title} <b>%{{x}}</b><br>%{{text}}<extra></extra>",
        )
    )  # fmt: skip
    _style(figure, title, 150 + int(cell * len(y)), False)
    figure.update_xaxes(title_text=x_title, type="category", nticks=20)
    figure.update_yaxes(title_text=y_title, type="category", autorange="reversed", nticks=20)
    return figure


def bars(
    labels: Collection[Any],
    values: Collection[Any],
    low: Collection[Any],
    high: Collection[Any],
    title: str,
    axis: str,
    is_percent: bool = False,
    highlight: str | None = None,
) -> go.Figure:
    """Draw a point with its interval for each label, the first at the top; *highlight* is drawn in colour."""
    y, lows, highs = (np.asarray(v, dtype=float) for v in (values, low, high))
    colours = [CATEGORICAL[1] if label == highlight else CATEGORICAL[0] for label in labels]
    figure = go.Figure(
        go.Scatter(
            x=y, y=list(labels), mode="markers", marker={"size": 10, "color": colours},
            error_x={"array": highs - y, "arrayminus": y - lows, "color": "#8A919E", "thickness": 1.4, "width": 4},
            customdata=np.stack([lows, highs], axis=1),
            hovertemplate="<b>%{y}</b><br>%{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]<extra></extra>",
        )
    )  # fmt: skip
    _style(figure, title, 130 + 30 * len(labels), False)
    figure.update_xaxes(title_text=axis, showgrid=True, gridcolor=_GRID, tickformat=".0%" if is_percent else None)
    figure.update_yaxes(type="category", autorange="reversed")
    return figure


def hover(values: np.ndarray, low: np.ndarray, high: np.ndarray, is_percent: bool) -> np.ndarray:
    """Write each number with its interval."""
    spec = "{:.0%} [{:.0%}, {:.0%}]" if is_percent else "{:.3f} [{:.3f}, {:.3f}] nats"
    return np.vectorize(lambda a, b, c: spec.format(a, b, c), otypes=[object])(values, low, high)


def _style(figure: go.Figure, title: str, height: int, legend: bool) -> None:
    figure.update_layout(
        template=TEMPLATE,
        title={"text": f"<b>{title}</b>", "font": {"size": 15}, "pad": {"t": 12}},
        height=height + (40 if legend else 0),
        margin={"l": 64, "r": 24, "t": 56, "b": 100 if legend else 56},
        showlegend=legend,
        legend={"y": -0.22, "yanchor": "top"},
    )
