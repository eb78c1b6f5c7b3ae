"""Figures as files: the ending says what is written."""

from pathlib import Path

import plotly.graph_objects as go
import pytest

import promptscope as ps

FIGURE = go.Figure(go.Bar(y=[1, 2]), {"title": "two bars"})


def test_a_page_needs_no_network(tmp_path: Path) -> None:
    ps.plots.save_figure(FIGURE, tmp_path / "new" / "bars.html", width=321)
    page = (tmp_path / "new" / "bars.html").read_text(encoding="utf-8")
    assert "two bars" in page and "321" in page
    assert "src=" not in page.split("<body>")[0] and len(page) > 1_000_000  # plotly.js is inside
    assert FIGURE.layout.width is None


def test_pictures_go_to_kaleido(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptscope.plots.export.find_spec", lambda name: name)
    asked = []

    def write(self: go.Figure, path: Path, **how: object) -> None:
        asked.append(how)
        path.write_text("a picture", encoding="utf-8")

    monkeypatch.setattr(go.Figure, "write_image", write)
    ps.plots.save_figure(FIGURE, tmp_path / "bars.svg", width=800, height=400)
    assert asked == [{"format": "svg", "width": 800, "height": 400}]
    assert [(path.name, path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()] == [("bars.svg", "a picture")]


def test_without_kaleido_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptscope.plots.export.find_spec", lambda name: None)
    with pytest.raises(ps.ArgumentError, match=r"pip install 'promptscope\[figures\]'"):
        ps.plots.save_figure(FIGURE, tmp_path / "bars.png")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_ending(tmp_path: Path) -> None:
    with pytest.raises(ps.ArgumentError, match=r"must end with \.html"):
        ps.plots.save_figure(FIGURE, tmp_path / "bars.jpg2")
