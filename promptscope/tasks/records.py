"""Records: what a task knows of one example, before any model or tokenizer."""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from promptscope.errors import TaskError, shortened
from promptscope.files import is_valid

_KEYS = ("id", "label", "references")


@dataclass(frozen=True)
class Record:
    """One example: `fields` for the template, its `label`, and the `references` that count as right.

    For classification the references are the label itself; for generation the label is what the model is
    trained to write and the references are all accepted answers. An empty label stands for "no answer".

    >>> record = Record("a", {"text": "a fine film"}, label="good", references=("good",))
    >>> record.text("text")
    'a fine film'
    """

    id: str
    fields: Mapping[str, Any]
    label: str | None
    references: tuple[str, ...]

    def text(self, name: str) -> str:
        """Return a field as text. Raises TaskError for a missing field, None, or a list."""
        if name not in self.fields:
            there = ", ".join(map(repr, self.fields)) or "none"
            raise TaskError(
                f"The template needs the field {name!r} and record {self.id!r} has the fields {there}. "
                "Rename the column, or write a template with the names that exist."
            )
        value = self.fields[name]
        if isinstance(value, str):
            return value
        if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
            return str(value)
        raise TaskError(
            f"Field {name!r} of record {self.id!r} is {value!r}, not text. Give a string ('' if it is empty)."
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "fields": dict(self.fields),
            "label": self.label,
            "references": list(self.references),
        }


def to_records(rows: Sequence[Any], split: str = "train") -> tuple[Record, ...]:
    """Make records of rows with the keys `label` (or `references`), optionally `id`, and any fields.

    Raises TaskError for no rows, a row without a label, a repeated id, or text that is not valid Unicode.
    """
    if len(rows) == 0:
        raise TaskError(f"Split {split!r} has no records. Give at least one, or leave the split out.")
    records: list[Record] = []
    seen: dict[str, int] = {}
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TaskError(
                f"Record {number} of split {split!r} is {shortened(repr(row))}; expected a dict such as "
                "{'text': '...', 'label': '...'}."
            )
        record = _record(row, number, split)
        if record.id in seen:
            raise TaskError(
                f"Records {seen[record.id]} and {number} of split {split!r} have the same id {record.id!r}. "
                "Make ids unique, or leave the column out and they are numbered."
            )
        seen[record.id] = number
        records.append(record)
    return tuple(records)


def _record(row: Mapping[str, Any], number: int, split: str) -> Record:
    given = _plain(row.get("id"))
    id = f"{split}-{number}" if _missing(given) else str(given)
    if len({str(name) for name in row}) < len(row):
        raise TaskError(f"Two columns of record {id!r} have the same name: {', '.join(map(repr, row))}. Rename one.")
    fields = {str(name): _plain(value) for name, value in row.items() if name not in _KEYS}
    if wrong := [name for name in row if isinstance(name, str) and not is_valid(name)]:
        raise TaskError(
            f"The column {wrong[0]!r} of record {id!r} of split {split!r} is not valid Unicode (a lone surrogate). "
            "Re-read the file with its encoding."
        )
    for name, value in {**row, "id": id}.items():
        if problem := _unreadable(value):
            raise TaskError(f"{name!r} of record {shortened(repr(id))} of split {split!r} {problem}")
    label, references = _plain(row.get("label")), _plain(row.get("references"))
    if isinstance(label, list | Mapping):
        raise TaskError(
            f"The label of record {id!r} is {shortened(repr(label))}, a {type(label).__name__}: a label is one text "
            "or number. Several accepted answers go into 'references'."
        )
    if not _missing(references):
        if isinstance(references, str) or not isinstance(references, Sequence):
            raise TaskError(f"references of record {id!r} must be a list of strings, got {references!r}.")
        if any(isinstance(reference, list | Mapping) or _missing(reference) for reference in references):
            raise TaskError(f"references of record {id!r} must be texts, got {shortened(repr(references))}.")
        accepted = tuple(dict.fromkeys(composed(str(reference)) for reference in references))
        label = accepted[0] if _missing(label) and accepted else label
    if _missing(label):
        raise TaskError(
            f"Record {id!r} of split {split!r} has no label; its columns are {', '.join(map(repr, row))}. "
            "Every record needs a 'label' (or 'references'); remove it or name the column 'label'."
        )
    text = composed(str(label))
    return Record(id, fields, text, (text,) if _missing(references) else accepted or (text,))


def composed(text: str) -> str:
    """Return a label as Unicode's composed form (NFC): the same letters are the same label, however they are spelt.

    >>> composed("caf\\u0065\\u0301") == composed("caf\\u00e9")
    True
    """
    return unicodedata.normalize("NFC", text)


def look(text: str) -> str:
    """Return what people see of a text: composed, without invisible characters and white space at the ends.

    >>> look("\ufeffgood\u200b  film ")
    'good film'
    """
    visible = "".join(char for char in text if unicodedata.category(char) not in ("Cf", "Cc") or char.isspace())
    return composed(" ".join(visible.split()))


def _unreadable(value: Any) -> str:
    """Say what keeps a value from being text, or nothing."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"is bytes ({shortened(repr(value))}): decode it, value.decode('utf-8')."
    if isinstance(value, str):
        return "" if is_valid(value) else "is not valid Unicode (a lone surrogate). Re-read the file with its encoding."
    if isinstance(value, Mapping):
        return next(filter(None, map(_unreadable, [*value, *value.values()])), "")
    if isinstance(value, list | tuple | set | frozenset):
        return next(filter(None, map(_unreadable, value)), "")
    return ""


def _plain(value: Any) -> Any:
    """Values of NumPy and pandas as Python's own; what JSON cannot hold as text."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if _absent(value):
        return None
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or _absent(value)


def _absent(value: Any) -> bool:
    """Whether a value is what pandas, NumPy or Python's decimals say where there is none, by its kind other than NaN.

    >>> [_absent(value) for value in (pd.NA, pd.NaT, Decimal("nan"), math.nan, "NaN")]
    [True, True, True, False, False]
    """
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    return value is pd.NA or value is pd.NaT or (isinstance(value, Decimal) and value.is_nan())
