"""Results as a figure: one dot a variant, its ratio and range over rounds, on a logarithmic scale."""

import plotly.graph_objects as go

from benchmarks.results import Measurement, Results
from promptscope.plots.theme import CATEGORICAL, TEMPLATE

_ROW, _TOP, _LEFT = 26, 110, 330


def ratio_figure(results: Results) -> go.Figure:
    """Draw all ratios that count; the line at 1 is the baseline."""
    points = [
        (f"{case.case}{_size(m)}", m)
        for case in results.cases
        for m in case.measurements
        if m.ratio is not None and not m.failed
    ]
    rows = list(dict.fromkeys(row for row, _ in points))
    figure = go.Figure()
    for colour, name in zip(CATEGORICAL, dict.fromkeys(_name(m) for _, m in points), strict=False):
        mine = [(row, m.ratio, m.against) for row, m in points if _name(m) == name and m.ratio is not None]
        figure.add_trace(
            go.Scatter(
                name=name,
                x=[ratio.median for _, ratio, _ in mine],
                y=[row for row, _, _ in mine],
                customdata=[against for _, _, against in mine],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [ratio.high - ratio.median for _, ratio, _ in mine],
                    "arrayminus": [ratio.median - ratio.low for _, ratio, _ in mine],
                    "thickness": 1.2,
                    "width": 0,
                },
                mode="markers",
                marker={"size": 9, "color": colour},
                hovertemplate="%{x:.2f} times %{customdata}<extra>%{y}</extra>",
            )
        )
    figure.add_vline(x=1, line={"color": "#5B6270", "width": 1, "dash": "dot"})
    about = results.hardware
    where = (
        f"{about.get('gpu') or about['cpu']}, {about['threads']} thread(s), median and range of {results.rounds} rounds"
    )
    figure.update_layout(
        template=TEMPLATE,
        width=980,
        height=_TOP + 60 + _ROW * max(len(rows), 1),
        margin={"l": _LEFT, "r": 24, "t": _TOP, "b": 60},
        title={
            "text": f'<b>Times as fast as the baseline</b><br><span style="font-size:12px">{where}</span>',
            "font": {"size": 16},
            "pad": {"t": 16},
        },
        xaxis={"type": "log", "title": {"text": "baseline's time / time; more is faster"}, "showgrid": True},
        yaxis={"categoryorder": "array", "categoryarray": rows[::-1]},
    )
    return figure


def _name(m: Measurement) -> str:
    return m.variant.removesuffix(_size(m))


def _size(m: Measurement) -> str:
    """Return what tells sizes of one case apart: the common end of a variant's and its baseline's name."""
    own, _, size = m.variant.rpartition(", ")
    shared = bool(own) and m.against is not None and m.against.endswith(f", {size}")
    return f", {size}" if shared else ""
