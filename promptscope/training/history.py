"""The history of a run as a CSV file from which every number is read back exactly."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from promptscope.errors import RunError
from promptscope.files import content_hash, write_text

COLUMNS = ("step", "epoch", "loss", "learning_rate", "grad_norm", "prompt_norm", "seconds")

Row = dict[str, int | float]


def write_history(path: Path, rows: Sequence[Row]) -> None:
    """Write one row for each step: `COLUMNS`, then evaluation columns, which are empty at steps without evaluation."""
    names = dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)])
    write_text(path, pd.DataFrame(rows, columns=list(names)).to_csv(index=False))


def read_rows(path: Path) -> list[Row]:
    """Read a file of `write_history`, with exact numbers (older versions of `pd.read_csv` err in the last bit).

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
        reader = csv.DictReader(text.splitlines())
        rows = list(reader)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"its columns {', '.join(missing)} are missing")
        # Of a number that is cut the first digits are a number too: only the end of the line tells.
        if not text.endswith("\n") or any(None in row or None in row.values() for row in rows):
            raise ValueError("a line has too few or too many cells")
        return [{name: _number(name, value) for name, value in row.items()} for row in rows]
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{str(path)!r} cannot be read ({error}): delete the run's folder and train again") from error


def history_hash(rows: Sequence[Row]) -> str:
    """Return a hash of the numbers of *rows*, independent of columns that later rows add."""
    return content_hash([{name: float(x) for name, x in row.items() if not math.isnan(x)} for row in rows])


def _number(name: str, value: str) -> int | float:
    if name == "step":
        return int(value)
    return float(value) if value else math.nan
