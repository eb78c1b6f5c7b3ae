"""Data frames as rows of text."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

_MANY, _LONG = 8, 60  # columns of a wide table; letters of a text that takes a line of its own there
_LETTERS, _TEXT, _GAP = 100, 24, 4  # of a row that fits 760 pixels; of a text before it is wrapped; between two columns
_NUMBER = re.compile(r"^[-+−]?[\d.,]")


@dataclass(frozen=True)
class Table:
    """What the template needs to show a table."""

    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    notes: tuple[str, ...] = ()
    """For each row of a wide table, its longest text, which is written below the row in the full width."""
    long: tuple[bool, ...] = ()
    """For each column, whether its texts are wrapped."""
    size: str = ""
    """`wide`: many columns, small letters; `broad`: small letters in a narrow window; otherwise empty."""


def make_table(table: pd.DataFrame, caption: str = "", formats: Mapping[str, str] | None = None) -> Table:
    """Write every cell of a data frame as text.

    A column is right-aligned if all its filled cells are numbers, such as `0.81 (0.75–0.86)`. *formats*: format
    specifications by column.

    >>> make_table(pd.DataFrame({"n": [1200], "share": [0.5], "name": ["x"]})).rows
    (('1,200', '0.500', 'x'),)
    """
    formats = formats or {}
    columns = {str(name): [cell_text(value, formats.get(str(name))) for value in table[name]] for name in table.columns}
    length = {name: sum(map(len, cells)) / max(sum(map(bool, cells)), 1) for name, cells in columns.items()}
    longest = max(length, key=lambda name: length[name], default=None)
    apart = longest is not None and len(columns) > _MANY and length[longest] > _LONG
    notes = columns.pop(longest) if apart and longest is not None else []
    numeric = tuple(any(cells) and all(_NUMBER.match(cell) for cell in cells if cell) for cells in columns.values())
    letters = [max(map(len, [name, *cells])) for name, cells in columns.items()]
    long = tuple(not number and n > _TEXT for number, n in zip(numeric, letters, strict=True))
    row = sum(_GAP + (_TEXT if wrapped else n) for wrapped, n in zip(long, letters, strict=True))
    return Table(
        columns=tuple(columns),
        numeric=numeric,
        rows=tuple(zip(*columns.values(), strict=True)),
        caption=caption,
        notes=tuple(notes),
        long=long,
        size="wide" if len(columns) > _MANY else "broad" if row > _LETTERS else "",
    )


def cell_text(value: Any, spec: str | None = None) -> str:
    """Write one value: floats with three decimals, tiny and huge ones with three digits; NaN and None as nothing."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if spec is not None and not isinstance(value, str):
        return format(value, spec)
    if isinstance(value, bool) or pd.api.types.is_bool(value):
        return "yes" if value else "no"
    if pd.api.types.is_integer(value):
        return f"{value:,}"
    if pd.api.types.is_float(value):
        return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3g}"
    return str(value)
