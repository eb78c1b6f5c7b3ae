"""Figures as files."""

import os
from importlib.util import find_spec
from pathlib import Path

import plotly.graph_objects as go

from promptscope.checks import checked
from promptscope.errors import ArgumentError
from promptscope.files import replace_atomically

PICTURES = (".png", ".svg", ".pdf")


@checked(width=1, height=1)
def save_figure(
    figure: go.Figure, path: str | os.PathLike[str], width: int | None = None, height: int | None = None
) -> None:
    """Write a figure to a file: `NAME.html`, which needs no network, or `NAME.png`, `NAME.svg` or `NAME.pdf`.

    *width* and *height* are in pixels; by default they are the figure's own. PNG, SVG and PDF are drawn by kaleido
    (`pip install "promptscope[figures]"`), which needs Chrome or Chromium.

    Raises:
        ArgumentError: another file ending, or kaleido is not installed.
        FileError: it cannot be written there.

    >>> import tempfile, plotly.graph_objects as go
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_figure(go.Figure(go.Bar(y=[1, 2])), Path(folder) / "bars.html")
    ...     [path.name for path in Path(folder).iterdir()]
    ['bars.html']
    """
    path = Path(path)
    if path.suffix not in (".html", *PICTURES):
        raise ArgumentError(f"save_figure: path must end with .html, {', '.join(PICTURES)}, got {path.name!r}")
    if path.suffix in PICTURES and find_spec("kaleido") is None:
        raise ArgumentError(
            f"save_figure: a picture ({path.suffix}) needs the package kaleido: pip install 'promptscope[figures]'. "
            "Or write NAME.html"
        )
    with replace_atomically(path) as temporary:
        if path.suffix == ".html":
            sized = go.Figure(figure).update_layout(width=width, height=height) if width or height else figure
            sized.write_html(temporary, include_plotlyjs=True)
        else:
            figure.write_image(temporary, format=path.suffix[1:], width=width, height=height)
