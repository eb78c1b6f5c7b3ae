"""The history of a run as a CSV file that gives every number back exactly."""

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
    """Write one row per step: `COLUMNS`, then the evaluation columns, empty where nothing was evaluated."""
    names = dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)])
    write_text(path, pd.DataFrame(rows, columns=list(names)).to_csv(index=False))


def read_rows(path: Path) -> list[Row]:
    """Read what `write_history` wrote; not with `pd.read_csv`, whose older versions are off by one bit.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
        reader = csv.DictReader(text.splitlines())
        rows = list(reader)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"it has no columns {', '.join(missing)}")
        # Of a number that is cut the first digits are a number too: only the end of the line tells.
        if not text.endswith("\n") or any(None in row or None in row.values() for row in rows):
            raise ValueError("a line is cut, or has too many cells")
        return [{name: _number(name, value) for name, value in row.items()} for row in rows]
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{str(path)!r} cannot be read ({error}): delete the run's folder and train again") from error


def history_hash(rows: Sequence[Row]) -> str:
    """Hash the numbers of *rows*, whatever columns rows that come later may add."""
    return content_hash([{name: float(x) for name, x in row.items() if not math.isnan(x)} for row in rows])


def _number(name: str, value: str) -> int | float:
    if name == "step":
        return int(value)
    return float(value) if value else math.nan
