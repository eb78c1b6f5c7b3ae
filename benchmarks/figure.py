"""Results as a figure: one dot per variant, its ratio and range over rounds, on a logarithmic scale."""

from collections.abc import Sequence

import plotly.graph_objects as go

from benchmarks.results import Results
from benchmarks.summary import lines
from promptscope.plots.theme import CATEGORICAL, TEMPLATE

_ROW, _TOP, _LEFT = 26, 110, 330


def ratio_figure(sessions: Sequence[Results]) -> go.Figure:
    """Draw the ratios of all variants whose results are equal, for sessions on one machine; 1 is the baseline."""
    points = [
        (f"{line.case}{line.size}", name, m.ratio, m.against)
        for results in sessions
        for case in results.cases
        for line in lines(case)
        for name, m in line.variants.items()
        if m.ratio is not None and not m.failed
    ]
    rows = sorted({row for row, *_ in points})
    figure = go.Figure()
    for colour, name in zip(CATEGORICAL, dict.fromkeys(name for _, name, *_ in points), strict=False):
        mine = [(row, ratio, against) for row, variant, ratio, against in points if variant == name]
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
    about = sessions[0].hardware
    where = f"{about.get('gpu') or about['cpu']}, {about['threads']} thread(s), median and range over rounds"
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
