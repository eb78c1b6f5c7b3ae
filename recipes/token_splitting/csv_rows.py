"""CSV files whose cells are padded with spaces and in which several blocks may be stacked: rows by their first cell."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from promptscope.errors import RunError

MAX_BYTES = 10_000_000


class CsvRows:
    """The rows of a file, {first cell: the others}, without padding, blank lines and trailing empty cells.

    Raises:
        RunError: the file is no CSV, or two rows have the same first cell.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, list[str]] = {}
        if (size := path.stat().st_size) > MAX_BYTES:
            raise self.error(f"expected a table of losses, got a file of {size:,} bytes")
        try:
            with open(path, newline="", encoding="utf-8-sig") as file:
                lines = [[cell.strip() for cell in line] for line in csv.reader(file, skipinitialspace=True)]
        except (UnicodeDecodeError, csv.Error) as error:
            raise self.error(f"not a CSV file ({error})") from error
        for line in lines:
            while line and not line[-1]:
                line.pop()
            if line and line[0] in self.rows:
                raise self.error(f"the row {line[0]!r} is there twice")
            if line:
                self.rows[line[0]] = line[1:]

    def error(self, message: str) -> RunError:
        """Return an error that names the file."""
        return RunError(f"{self.path}: {message}")

    def row(self, name: str) -> list[str]:
        """Return the cells of a row as text."""
        if not self.rows.get(name):
            raise self.error(f"the row {name!r} is missing; there are {', '.join(map(repr, self.rows)) or 'no rows'}")
        return self.rows[name]

    def numbers(self, name: str, n: int) -> list[float]:
        """Return the *n* numbers of a row."""
        cells = self.row(name)
        if len(cells) != n:
            raise self.error(f"the row {name!r} has {len(cells)} numbers, expected {n}")
        return self._floats(name, cells)

    def column(self, key: str, column: str) -> dict[str, float]:
        """Return {first cell: number} of the column whose header, in the row *key*, is *column*."""
        header = self.row(key)
        if column not in header:
            raise self.error(f"expected a column {column!r}, got {', '.join(header)}")
        if header.count(column) > 1:
            raise self.error(f"two columns are called {column!r}")
        place = header.index(column)
        rows = {name: cells for name, cells in self.rows.items() if name != key}
        for name, cells in rows.items():
            if len(cells) != len(header):
                raise self.error(f"the row {name!r} has {len(cells)} cells after the first, expected {len(header)}")
        return {name: self._floats(name, cells[place : place + 1])[0] for name, cells in rows.items()}

    def _floats(self, name: str, cells: Sequence[str]) -> list[float]:
        try:
            # Python reads 1_000 as a number, and no CSV file means it.
            numbers = [float(cell.replace("_", "?")) for cell in cells]
        except ValueError as error:
            raise self.error(f"the row {name!r}: {error}") from error
        if not all(map(math.isfinite, numbers)):
            raise self.error(f"the row {name!r} holds a number that is not finite")
        return numbers
