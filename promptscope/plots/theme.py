"""The style of all figures: colours that also work for colour-blind readers, and titles that give the direction."""

import math
import textwrap
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio

from promptscope.checks import checked
from promptscope.probes import ProbeResult

CATEGORICAL = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B6B6B")
"""Colours of prompts, tasks and the like (Okabe & Ito 2008), in the order in which they are used."""

SEQUENTIAL = ("#FBFBF3", "#DCEBC9", "#A3D3B9", "#5DB4B8", "#2E8AAE", "#24619C", "#253A7E", "#171B4B")
"""Light to dark for numbers that start at zero: lightness falls evenly, so it reads in grey as well."""

DIVERGING = ("#7F3B08", "#C46A12", "#EBA34F", "#F9DDB5", "#F7F7F5", "#C9D8EC", "#7CA6D2", "#2F6CAE", "#173A6B")
"""Orange below zero, blue above, for differences."""

_LEFT = 64
_INK, _QUIET, _LINE = "#1F2430", "#5B6270", "#D9DCE1"
_FONT = "Inter, 'Helvetica Neue', Helvetica, Arial, 'Noto Sans KR', 'Apple SD Gothic Neo', sans-serif"
_AXIS = {
    "showgrid": False,
    "zeroline": False,
    "showline": False,
    "ticks": "",
    "tickfont": {"size": 11, "color": _QUIET},
    "title": {"font": {"size": 12, "color": _QUIET}, "standoff": 8},
    "automargin": True,
}

TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": _FONT, "size": 13, "color": _INK},
        "title": {"x": 0, "xref": "paper", "xanchor": "left", "y": 1, "yref": "container", "yanchor": "top"},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "colorway": CATEGORICAL,
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "font": {"size": 12}},
        "hoverlabel": {"font": {"family": _FONT, "size": 12}, "bgcolor": "white", "bordercolor": _LINE},
        "coloraxis": {"colorbar": {"outlinewidth": 0, "thickness": 12, "tickfont": {"size": 11, "color": _QUIET}}},
    }
)
"""The Plotly template of all figures, also known to Plotly as `promptscope`."""
pio.templates["promptscope"] = TEMPLATE  # to be asked for by name; the user's default stays


def new_figure(
    width: int | float, height: int | float, result: ProbeResult, figure: go.Figure | None = None
) -> go.Figure:
    """Return a figure in the package's style, titled with what *result* is, its direction, and its number of inputs.

    *width* and *height* are those of the drawing without the title; a long subtitle is wrapped.
    """
    n, skipped = result.n_examples, f" ({result.n_skipped} skipped)" if result.n_skipped else ""
    inputs = f"{n} input{'' if n == 1 else 's'}{skipped}" if n or skipped else ""
    about = " · ".join(filter(None, [result.direction, inputs]))
    return titled_figure(width, height, result.title or result.name, about, figure)


@checked()
def titled_figure(
    width: int | float, height: int | float, title: str, about: str, figure: go.Figure | None = None
) -> go.Figure:
    """Return a figure in the package's style, with *title* and the subtitle *about*.

    *about* says what is drawn and which direction is more. *width* and *height* are those of the drawing without the
    title; a long title or subtitle is wrapped.

    >>> titled_figure(500, 300, "Norms", "L2, higher = longer").layout.title.text.startswith("<b>Norms")
    True
    """
    figure = figure or go.Figure()
    width = max(width, 400)
    room = width - _LEFT - 12
    title_lines = textwrap.wrap(title, width=int(room / 9.8)) or [""]  # bold 16 px letters are about 10 px wide
    lines = textwrap.wrap(about, width=int(room / 6.1))  # 12 px letters are about 6 px wide
    title = "<br>".join(title_lines)
    subtitle = "".join(f'<br><span style="font-size:12px;color:{_QUIET}">{line}</span>' for line in lines)
    top = 62 + 21 * (len(title_lines) - 1) + 17 * len(lines)
    figure.update_layout(
        template=TEMPLATE,
        width=width,
        height=height + top,
        margin={"l": _LEFT, "r": 24, "t": top, "b": 56},
        title={"text": f"<b>{title}</b>{subtitle}", "font": {"size": 16}, "pad": {"t": 16}},
    )
    return figure


def legend_below(figure: go.Figure, labels: Sequence[str]) -> None:
    """Move the legend below the x axis, and make room for it, where *labels* need more than one line at the top."""
    width, height, margin = figure.layout.width, figure.layout.height, figure.layout.margin
    bottom = margin.b  # *margin* changes with the figure
    lines = math.ceil(sum(7 * len(label) + 56 for label in labels) / (width - margin.l - margin.r))
    if lines < 2:
        return
    inner = height - margin.t - bottom
    more = 22 * lines + 12
    figure.update_layout(height=height + more, margin={"b": bottom + more})
    figure.update_layout(legend={"y": -bottom / inner, "yanchor": "top"})


@checked()
def with_alpha(colour: str, alpha: float) -> str:
    """Return a hex colour as `rgba(...)`, with the opacity *alpha* in [0, 1].

    >>> with_alpha("#0072B2", 0.2)
    'rgba(0, 114, 178, 0.2)'
    """
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {alpha})"


def index_ticks(labels: np.ndarray) -> list[int]:
    """Pick at most 16 of the layers or heads to label, in equal steps.

    >>> index_ticks(np.arange(30))
    [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28]
    """
    step = 1
    while len(labels) > 16 * step:
        step *= 2
    return [int(label) for label in labels[::step]]
