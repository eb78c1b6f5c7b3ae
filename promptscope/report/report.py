"""A page of text, numbers, tables and figures, written as one HTML file."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from promptscope.checks import checked
from promptscope.files import write_text
from promptscope.prompts.saving import versions
from promptscope.report.table import Table, make_table


@dataclass
class Section:
    """A heading and what follows it, in order: pairs (kind, content) that the template knows."""

    title: str
    parts: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """The section's anchor in links within the page."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower()).strip("-")


class Report:
    """A page: title, introduction and key numbers, then sections of text, tables and figures, then provenance.

    `section`, `text`, `bullets`, `table`, `figure`, `number` and `provenance` add to it and return it, so that calls
    can be chained; `write` writes one HTML file. Texts are plain text, not HTML: `<` is shown as it is. Figures are
    Plotly's. The page includes plotly.js and needs no network.

    >>> page = Report("Capitals", "What a prompt changes.")
    >>> page.section("Scores").text("Higher is better.").table(pd.DataFrame({"prompt": ["v2"], "accuracy": [0.91]}))
    Report('Capitals', 1 section)
    >>> "<td class=\\"number\\">0.910</td>" in page.html()
    True
    """

    @checked()
    def __init__(self, title: str, lead: str = "") -> None:
        self.title = title
        self.lead = lead
        self.key_numbers: list[tuple[str, str, str]] = []
        self.sections: list[Section] = []
        self.made_with: dict[str, dict[str, str]] = {"versions": {"python": platform.python_version(), **versions()}}

    def __repr__(self) -> str:
        n = len(self.sections)
        return f"Report({self.title!r}, {n} section{'' if n == 1 else 's'})"

    def number(self, label: str, value: str, detail: str = "") -> Report:
        """Add a key number at the top of the page: its label, its value as text, and a line of detail."""
        self.key_numbers.append((label, value, detail))
        return self

    @checked()
    def section(self, title: str) -> Report:
        """Begin a section; what is added next is part of it."""
        self.sections.append(Section(title))
        return self

    def text(self, *paragraphs: str) -> Report:
        """Add paragraphs."""
        return self._add("text", paragraphs)

    def bullets(self, *items: str) -> Report:
        """Add a list."""
        return self._add("bullets", items)

    def table(self, table: pd.DataFrame, caption: str = "", formats: Mapping[str, str] | None = None) -> Report:
        """Add a table; *formats* gives format specifications by column, such as `{"accuracy": ".1%"}`."""
        return self._add("table", make_table(table, caption, formats or {}))

    def figure(self, figure: go.Figure, caption: str = "") -> Report:
        """Add a Plotly figure; one that is wider than the page is scaled down, to 60 % of its size at least."""
        # "</script>" inside a label would end the element that holds the figure.
        json = str(figure.to_json()).replace("</", "<\\/").replace("<!--", "<\\!--")
        width = figure.layout.width
        return self._add("figure", {"json": Markup(json), "caption": caption, "width": width})

    def provenance(self, groups: Mapping[str, Any]) -> Report:
        """Add to the footer what the page was made from: names with their values.

        Values may be dicts: `{"model": {"name": "...", "embedding_hash": "..."}, "seeds": [0, 1]}`.
        """
        for name, values in groups.items():
            flat = dict(_flatten(values)) if isinstance(values, Mapping) else {"": str(values)}
            self.made_with.setdefault(name, {}).update(flat)
        return self

    def html(self) -> str:
        """Return the page as HTML."""
        figures = any(kind == "figure" for section in self.sections for kind, _ in section.parts)
        plotly = Markup(get_plotlyjs()) if figures else None
        return _template().render(report=self, plotly_js=plotly)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the page to *path*, as one HTML file."""
        write_text(path, self.html())

    def _add(self, kind: str, content: Any) -> Report:
        if not self.sections:
            self.section("")
        self.sections[-1].parts.append((kind, content))
        return self


@cache
def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("promptscope", "report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html")


def _flatten(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _flatten(value, f"{before}{name}.")
        elif value is not None:
            rows.append((f"{before}{name}", str(value)))
    return rows


__all__ = ["Report", "Section", "Table"]
