"""Conversion of rows of a known data set, with its source's columns, to rows with a task's fields and labels."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from promptscope.errors import TaskError
from promptscope.tasks.known import Known
from promptscope.tasks.sources import Row

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
        new: dict[str, Any] = {field: _text(name, row, spec) for field, spec in known.fields.items()}
        if "concepts" in known.fields:
            new["concepts"] = list(_column(name, row, known.fields["concepts"]))
        label: str | None
        if known.step is not None and known.references is not None:
            score = float(_column(name, row, known.references))
            new["references"] = [str(score)]
            per_unit = round(1 / known.step)  # exact, as score / 0.2 is not
            label = None if score == -1 else f"{round(score * per_unit) / per_unit:.1f}"
        elif known.references is not None:
            given = _column(name, row, known.references)
            accepted = [given] if isinstance(given, str) else list(given)
            new["references"] = accepted or [""]  # no answer: the model should write nothing
            label = new["references"][0]
        else:
            label = _label(known, _column(name, row, known.label), ties)
        kept.append({"id": ids[number] if unique else f"{split}-{number}", **new, "label": label})
    labelled = [row for row in kept if row["label"] is not None]
    return labelled, len(kept) - len(labelled)


def _chosen(name: str, known: Known, rows: Sequence[Row]) -> Sequence[Row]:
    """Return the rows of the chosen set in a source of several sets, one row for each answer."""
    if known.only is not None:
        column, value = known.only
        there = {row.get(column, value) for row in rows}
        rows = [row for row in rows if row.get(column, value) == value]
        if not rows:
            raise TaskError(
                f"Data set {name!r} needs rows with {column} {value!r}, but the rows have "
                f"{', '.join(sorted(map(str, there)))}. Check that the path is this data set's."
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
        score = float(value)
        if score == known.boundary:
            return {"drop": None, "above": above, "below": below}[ties]
        return above if score > known.boundary else below
    return known.rename.get(str(value), str(value))


def _text(name: str, row: Row, spec: str) -> str:
    if "{" in spec:
        return _BRACES.sub(lambda match: str(_column(name, row, match.group(1))), spec)
    value = _column(name, row, spec)
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value


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
