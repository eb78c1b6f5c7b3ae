"""The HTML with which a notebook shows an object: its name and a few facts, in the colours of the notebook."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_CELL = "text-align:left;padding:1px 14px 1px 0;border:0;background:none;vertical-align:top"


def card(title: str, facts: Mapping[str, Any], extra: str = "") -> str:
    """Return HTML with *title* and one line for each fact whose value is not None, followed by the HTML *extra*.

    Titles, names and values are escaped; *extra* is not.

    >>> card("Task 'x'", {"labels": "a, <b>"}).count("&lt;b&gt;")
    1
    """
    rows = "".join(
        f'<tr style="background:none"><td style="{_CELL};opacity:.65">{escape(name)}</td>'
        f'<td style="{_CELL}">{escape(str(value))}</td></tr>'
        for name, value in facts.items()
        if value is not None
    )
    return (
        f'<div style="font-size:90%;margin:.3em 0"><b>{escape(title)}</b>'
        f'<table style="border:0;margin:.2em 0">{rows}</table>{extra}</div>'
    )


def curve(values: Sequence[float], width: int = 260, height: int = 48) -> str:
    """Return a line plot of *values* as SVG of *width* x *height* pixels, or an empty string for fewer than two values.

    The y axis goes from the smallest value (bottom) to the largest (top).

    >>> curve([3.0, 2.0, 1.0]).startswith("<svg")
    True
    """
    numbers = [float(value) for value in values]
    if len(numbers) < 2:
        return ""
    low, high = min(numbers), max(numbers)
    points = " ".join(
        f"{width * i / (len(numbers) - 1):.1f},{2 + (height - 4) * (high - y) / ((high - low) or 1):.1f}"
        for i, y in enumerate(numbers)
    )
    return (
        f'<svg width="{width}" height="{height}" role="img" aria-label="from {numbers[0]:.4g} to {numbers[-1]:.4g}">'
        f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.5"/></svg>'
    )
