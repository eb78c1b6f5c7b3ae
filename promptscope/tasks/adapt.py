"""Conversion of rows of a known data set, with its source's columns, to rows with a task's fields and labels."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from promptscope.errors import TaskError, shortened
from promptscope.tasks.known import Known
from promptscope.tasks.sources import FileRow, Row, place_of
from promptscope.tasks.verbalizer import Verbalizer

Ties = Literal["drop", "above", "below"]
_BRACES = re.compile(r"\{([^{}]+)\}")
_ABSENT = object()


def adapt(name: str, known: Known, rows: Sequence[Row], split: str, ties: Ties = "drop") -> tuple[list[Row], int]:
    """Return rows for `to_records`, and the number of rows left out (without a label, or with a score at the boundary).

    Raises:
        TaskError: the source lacks a column of the data set.
    """
    kept: list[Row] = []
    rows = _chosen(name, known, rows)
    ids = [_lookup(row, "id|guid") for row in rows]
    unique = _ABSENT not in ids and len(set(map(str, ids))) == len(ids)  # STS ids repeat over genres
    for number, row in enumerate(rows):
        place = place_of(row) or f"row {number} of split {split!r}"
        try:
            new = {"id": ids[number] if unique else f"{split}-{number}", **_adapted(name, known, row, ties)}
        except TaskError as error:
            raise TaskError(f"{place}: {error}") from None
        kept.append(FileRow(new, place))
    labelled = [row for row in kept if row["label"] is not None]
    return labelled, len(kept) - len(labelled)


def _adapted(name: str, known: Known, row: Row, ties: Ties) -> Row:
    """Return the fields of one row, its label (None: it has none) and, if the text is free, its references."""
    new: dict[str, Any] = {}
    for field, spec in known.fields.items():
        if spec == known.fields.get("concepts"):  # a list, and the text that is made of it
            concepts = _texts(name, row, spec)
            new[field] = concepts if field == "concepts" else " ".join(concepts)
        else:
            new[field] = _text(name, row, spec)
    if known.step is not None and known.references is not None:
        score = _score(_column(name, row, known.references))
        if score is None:
            return new | {"label": None}
        per_unit = round(1 / known.step)  # exact, as score / 0.2 is not
        return new | {"references": [str(score)], "label": f"{round(score * per_unit) / per_unit:.1f}"}
    if known.references is not None:
        if _column(name, row, known.references) is None:
            return new | {"label": None}
        accepted = _texts(name, row, known.references, or_one=True) or [""]  # no answer: the model should write nothing
        return new | {"references": accepted, "label": accepted[0]}
    label = _label(known, _column(name, row, known.label), ties)
    if known.words is not None and label is not None and label not in known.words:
        Verbalizer(known.words).word(label)  # now, while the row's place is known
    return new | {"label": label}


def _chosen(name: str, known: Known, rows: Sequence[Row]) -> Sequence[Row]:
    """Return the rows of the chosen set in a source of several sets, one row for each answer."""
    if known.only is not None:
        column, value = known.only
        there = {str(row.get(column, value)) for row in rows}
        rows = [row for row in rows if row.get(column, value) == value]
        if not rows:
            raise TaskError(
                f"Data set {name!r} needs rows with {column} {value!r}, but the rows have "
                f"{', '.join(sorted(there))}. Check that the path is this data set's."
            )
    if not known.nested:
        return rows
    flat: list[Row] = []
    for row in rows:
        if not isinstance(row.get("passage"), Mapping):
            flat.append(row)
            continue
        paragraph = row["passage"]["text"]
        for question in row["passage"]["questions"]:
            flat += [
                {
                    "paragraph": paragraph,
                    "question": question["question"],
                    "answer": answer["text"],
                    "label": answer["label"],
                }
                for answer in question["answers"]
            ]
    return flat


def _label(known: Known, value: Any, ties: Ties) -> str | None:
    if value is None or value == -1:
        return None
    if known.boundary is not None and known.words is not None:
        above, below = known.words
        score = _score(value)
        if score is None or score == known.boundary:
            return None if score is None else {"drop": None, "above": above, "below": below}[ties]
        return above if score > known.boundary else below
    return known.rename.get(str(value), str(value))


def _score(value: Any) -> float | None:
    """Return a score of similarity, None if it is hidden (null or -1).

    Raises:
        TaskError: it is no number, or none from 0 to 5.
    """
    if value is None or value == -1:
        return None
    try:
        score = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if not 0 <= score <= 5:
        raise TaskError(f"A score must be a number from 0 to 5, got {shortened(repr(value))}. Correct or remove it.")
    return score


def _text(name: str, row: Row, spec: str) -> str:
    if "{" in spec:
        return _BRACES.sub(lambda match: str(_one(spec, _column(name, row, match.group(1)))), spec)
    return _one(spec, _column(name, row, spec))


def _texts(name: str, row: Row, spec: str, or_one: bool = False) -> list[str]:
    """Return a column that holds a list of texts; *or_one*: or a single text, and the list may be empty."""
    value = _column(name, row, spec)
    if or_one and isinstance(value, str | int | float):
        value = [value]
    if not isinstance(value, list | tuple) or not (value or or_one):
        raise TaskError(f"The column {spec!r} must hold a list of texts, got {shortened(repr(value))}. Write a list.")
    return [str(_one(spec, item)) for item in value]


def _one(spec: str, value: Any) -> Any:
    """Return a text, or a number that can be written as one.

    Raises:
        TaskError: it is something else, of which there would be a text as well: "None", "['a', 'b']".
    """
    if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise TaskError(
            f"The column {spec!r} must hold text, got {shortened(repr(value))}. Give a string ('' if it is empty)."
        )
    return value


def _column(name: str, row: Row, spec: str) -> Any:
    value = _lookup(row, spec)
    if value is _ABSENT:
        raise TaskError(
            f"Data set {name!r} needs a column {' or '.join(map(repr, spec.split('|')))}, but the rows have "
            f"{', '.join(map(repr, row))}. Check that the path is this data set's, or load your own columns "
            "with Task.from_records."
        )
    return value


def _lookup(row: Row, spec: str) -> Any:
    for path in spec.split("|"):
        value: Any = row
        for key in path.split("."):
            value = value[key] if isinstance(value, Mapping) and key in value else _ABSENT
        if value is not _ABSENT and not isinstance(value, Mapping):
            return value
    return _ABSENT
