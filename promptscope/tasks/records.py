"""Records: single examples of a task, independent of models and tokenizers."""

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
from promptscope.tasks.sources import place_of

_KEYS = ("id", "label", "references")


@dataclass(frozen=True)
class Record:
    """One example of a task.

    - `id`: unique within its split;
    - `fields`: the texts for the template, by name;
    - `label`: the class or, for generation, the text that the model is trained to write; empty for "no answer";
    - `references`: the accepted answers; for classification, the label alone.

    >>> record = Record("a", {"text": "a fine film"}, label="good", references=("good",))
    >>> record.text("text")
    'a fine film'
    """

    id: str
    fields: Mapping[str, Any]
    label: str | None
    references: tuple[str, ...]

    def text(self, name: str) -> str:
        """Return the text of a field.

        Raises:
            TaskError: there is no such field, or it is not text."""
        if name not in self.fields:
            there = ", ".join(map(repr, self.fields)) or "none"
            raise TaskError(
                f"The template needs the field {name!r}, but record {self.id!r} has the fields {there}. Rename the "
                "column, or write a template with these names."
            )
        value = self.fields[name]
        if isinstance(value, str):
            return value
        if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
            return str(value)
        raise TaskError(
            f"Field {name!r} of record {self.id!r} must be text, got {value!r}. Give a string ('' if it is empty)."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record as a dict that JSON can hold."""
        return {
            "id": self.id,
            "fields": dict(self.fields),
            "label": self.label,
            "references": list(self.references),
        }


def to_records(rows: Sequence[Any], split: str = "train") -> tuple[Record, ...]:
    """Return records from rows with the keys `label` (or `references`), optionally `id`, and any fields.

    Raises:
        TaskError: there are no rows, a row has no label, an id is repeated, or text is not valid Unicode.
    """
    if len(rows) == 0:
        raise TaskError(f"Split {split!r} needs at least one record, got none. Add records, or leave the split out.")
    records: list[Record] = []
    seen: dict[str, int] = {}
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TaskError(
                f"Record {number} of split {split!r} is {shortened(repr(row))}; expected a dict such as "
                "{'text': '...', 'label': '...'}."
            )
        try:
            record = _record(row, number, split)
        except TaskError as error:
            raise TaskError(f"{place}: {error}" if (place := place_of(row)) else str(error)) from None
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
            f"The label of record {id!r} must be one text or number, got {shortened(repr(label))} "
            f"({type(label).__name__}). Give several accepted answers as 'references'."
        )
    if not _missing(references):
        if isinstance(references, str) or not isinstance(references, Sequence):
            raise TaskError(f"The references of record {id!r} must be a list of strings, got {references!r}.")
        if any(isinstance(reference, list | Mapping) or _missing(reference) for reference in references):
            raise TaskError(f"The references of record {id!r} must be strings, got {shortened(repr(references))}.")
        accepted = tuple(dict.fromkeys(composed(str(reference)) for reference in references))
        label = accepted[0] if _missing(label) and accepted else label
    if _missing(label):
        raise TaskError(
            f"Record {id!r} of split {split!r} has no label; its columns are {', '.join(map(repr, row))}. "
            "Every record needs a 'label' (or 'references'): name the column 'label', or remove the record."
        )
    text = composed(str(label))
    return Record(id, fields, text, (text,) if _missing(references) else accepted or (text,))


def composed(text: str) -> str:
    """Return a label in Unicode's composed form (NFC), so that equal letters are equal labels in any encoding.

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
    """Return the reason why a value is not readable text, or an empty string."""
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
    """Return values of NumPy and pandas as Python values, and values that JSON cannot hold as text."""
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
