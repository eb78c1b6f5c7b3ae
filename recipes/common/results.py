"""A recipe's results folder: tables, figures, and one file that says what they were made from."""

import os
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

import promptscope as ps
from promptscope.files import write_json, write_text
from promptscope.prompts import versions

STATUSES = ("equal", "differs", "matched", "absent")
COLUMNS = ["row", "column", "published", "computed", "difference"]


class Results:
    """A folder that a recipe fills and that can be read without the recipe.

    - `table_N.csv`: a published table, `row,column,published,computed,difference`;
    - `NAME.csv`: any other table; `figures/NAME.html`: a figure (all share one `plotly.min.js`);
    - `cells.csv`: all cells of all published tables with the exact numbers and their status;
    - `summary.csv`: how many cells of each table are equal, differ or are absent;
    - `report.html`: the page that `report` returns, if it was written;
    - `results.json`: recipe, settings, versions, the files written.
    """

    def __init__(self, folder: str | os.PathLike[str], recipe: str, settings: Any) -> None:
        self.folder = Path(folder)
        self.recipe = recipe
        self.settings = asdict(settings) if is_dataclass(settings) and not isinstance(settings, type) else settings
        self.comparisons: dict[str, pd.DataFrame] = {}
        self.tables: dict[str, pd.DataFrame] = {}
        self.figures: dict[str, go.Figure] = {}
        self.files: list[str] = []

    def comparison(self, table: str, frame: pd.DataFrame) -> None:
        """Write what `compare` returned as `table_N.csv`, and remember its cells."""
        self.comparisons[table] = frame
        self._write(f"table_{table}.csv", frame[COLUMNS])

    def table(self, name: str, frame: pd.DataFrame) -> None:
        """Write `NAME.csv`."""
        self.tables[name] = frame
        self._write(f"{name}.csv", frame)

    def figure(self, name: str, figure: go.Figure) -> None:
        """Write `figures/NAME.html`."""
        folder = self.folder / "figures"
        if not self.figures:  # always anew: where an interrupted call left half of it, all figures were blank
            write_text(folder / "plotly.min.js", get_plotlyjs())
        write_text(folder / f"{name}.html", figure.to_html(include_plotlyjs="directory"))
        self.figures[name] = figure
        self.files.append(f"figures/{name}.html")

    def summary(self) -> pd.DataFrame:
        """Return one line per published table: its number of cells, and how many have which status."""
        rows = []
        for table, frame in self.comparisons.items():
            counts = frame["status"].value_counts()
            rows.append((table, len(frame), *(int(counts.get(s, 0)) for s in STATUSES)))
        return pd.DataFrame(rows, columns=["table", "cells", *STATUSES])

    def report(self, title: str, lead: str, captions: Mapping[str, str] | None = None) -> ps.Report:
        """Return a page of all that was added: how the published tables came out, the other tables, the figures.

        *captions* says what a table or figure shows, by name; what has none is not on the page. The recipe may add
        sections of its own and then writes it: `page.write(results.folder / "report.html")`.
        """
        captions = captions or {}
        page = ps.Report(title, lead).section("Published and computed")
        page.table(
            self.summary(),
            "For each published table: how many of its cells are equal to the computed ones, differ, or are absent.",
        )
        for name, caption in captions.items():
            filled = name in self.tables and len(self.tables[name])
            if filled or name in self.figures:
                page.section(name.replace("_", " ").capitalize()).text(caption)
            if name in self.figures:
                page.figure(self.figures[name])
            if filled:
                page.table(self.tables[name])
        for table, frame in self.comparisons.items():
            page.section(f"Table {table}")
            if frame["computed"].notna().any():
                page.table(frame[COLUMNS])
            else:
                page.text("None of this table's numbers was computed in this run; the CSV file has the printed ones.")
        return page.provenance({"recipe": {"name": self.recipe}, "settings": self.settings})

    def finish(self, notes: Mapping[str, Any] | None = None) -> None:
        """Write `cells.csv`, `summary.csv` and, last, `results.json` with *notes*: a folder with it is complete."""
        if self.comparisons:
            cells = [frame.assign(table=table) for table, frame in self.comparisons.items()]
            self._write("cells.csv", pd.concat(cells)[["table", *COLUMNS, "exact", "status"]])
            self._write("summary.csv", self.summary())
        if (self.folder / "report.html").is_file():
            self.files.append("report.html")
        about = {"recipe": self.recipe, "settings": self.settings, "versions": versions()}
        write_json(self.folder / "results.json", about | dict(notes or {}) | {"files": sorted(self.files)})

    def _write(self, name: str, frame: pd.DataFrame) -> None:
        write_text(self.folder / name, frame.to_csv(index=False, lineterminator="\n"))
        self.files.append(name)
