"""Figures of numbers that are not averages over inputs: same look, their own line of explanation."""

import textwrap

import plotly.graph_objects as go

from promptscope.plots.theme import TEMPLATE

_LEFT, _QUIET = 64, "#5B6270"


def titled_figure(
    width: int | float, height: int | float, title: str, about: str, figure: go.Figure | None = None
) -> go.Figure:
    """Return a figure in our look under *title*, with *about* (what is drawn, which way is more) in small letters.

    *width* and *height* are of the picture without the title; a long explanation is wrapped.
    """
    figure = figure or go.Figure()
    width = max(width, 400)
    lines = textwrap.wrap(about, width=int((width - _LEFT - 12) / 6.1))  # 12 px letters are about 6 px wide
    subtitle = "".join(f'<br><span style="font-size:12px;color:{_QUIET}">{line}</span>' for line in lines)
    top = 62 + 17 * len(lines)
    figure.update_layout(
        template=TEMPLATE,
        width=width,
        height=height + top,
        margin={"l": _LEFT, "r": 24, "t": top, "b": 56},
        title={"text": f"<b>{title}</b>{subtitle}", "font": {"size": 16}, "pad": {"t": 16}},
    )
    return figure
