"""Reading of rows from files, folders, data frames, Hugging Face data sets and lists."""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from promptscope.errors import TaskError, shortened
from promptscope.files import is_there, long_cells, nearest_file

Row = Any  # a mapping column -> value; `to_records` refuses anything else with a clear message


class FileRow(dict[str, Any]):
    """A row of a file that knows where it is there, for messages: `place` is "FILE, line 3"."""

    __slots__ = ("place",)

    def __init__(self, row: Mapping[str, Any], place: str) -> None:
        super().__init__(row)
        self.place = place


def place_of(row: Row) -> str:
    """Return the file and line of a row, or an empty text if it is from memory.

    >>> place_of(FileRow({"text": "a"}, "train.jsonl, line 3")), place_of({"text": "a"})
    ('train.jsonl, line 3', '')
    """
    return row.place if isinstance(row, FileRow) else ""


_SPLIT_NAMES = {
    **{name: name for name in ("train", "validation", "test", "all")},
    **{name: "validation" for name in ("dev", "val", "valid")},
}


def read_source(source: Any, split: str = "train") -> dict[str, list[Row]]:
    """Return the rows of each split; a source without splits becomes one split with the name *split*.

    *source* is a path (a JSONL, JSON or CSV file, a folder with train, validation and test files, or a saved Hugging
    Face data set), a Hugging Face Dataset or DatasetDict, a pandas DataFrame, a dict from splits to any of these, or a
    sequence of dicts.

    Raises:
        TaskError: a file is missing, empty or unreadable, a folder has no splits, or the source has another type.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if is_there(path) and path.is_dir():
            return _read_folder(path)
        return {split: read_file(path)}
    if isinstance(source, Mapping):
        if not source:
            raise TaskError("A dict of splits must not be empty. Give {'train': records, 'test': records}.")
        return {str(name): _rows(part) for name, part in source.items()}
    return {split: _rows(source)}


def read_file(path: Path) -> list[Row]:
    """Return the rows of one file in the format of its ending (.jsonl, .json, .csv)."""
    if not is_there(path):
        raise TaskError(f"There is no file or folder {shortened(str(path))!r}.{nearest_file(path)}")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise TaskError(f"Cannot read {path.name!r}: expected a file ending in {', '.join(_READERS)}.")
    try:
        text = path.read_bytes().decode("utf-8-sig")  # not read_text, which makes "\n" of a "\r" inside a cell
    except UnicodeDecodeError as error:
        raise TaskError(
            f"{path} must be UTF-8 text, but it is not ({error.reason} at byte {error.start}). Convert it to UTF-8."
        ) from error
    except OSError as error:
        raise TaskError(f"{path} cannot be read: {error.strerror}. Check the path and its permissions.") from error
    rows = reader(path, text)
    if not rows:
        raise TaskError(f"{path} must hold at least one record, got none.")
    return rows


def _read_folder(folder: Path) -> dict[str, list[Row]]:
    if (folder / "dataset_dict.json").exists() or (folder / "dataset_info.json").exists():
        from datasets import load_from_disk  # a second to import, and seldom needed

        try:
            saved = read_source(load_from_disk(str(folder)))
        except TaskError:
            raise
        except Exception as error:  # of JSON, of Arrow, of the library itself, wherever the damage is
            said = (str(error).splitlines() or [""])[0]
            raise TaskError(
                f"The data set in {str(folder)!r} is damaged ({type(error).__name__}: {shortened(said, 160)}). Save it "
                "again with save_to_disk."
            ) from error
        return saved
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        name = _SPLIT_NAMES.get(path.stem.lower())
        if name is None or path.suffix.lower() not in _READERS:
            continue
        if name in found:
            raise TaskError(f"{folder} holds the split {name!r} twice: {found[name].name} and {path.name}. Keep one.")
        found[name] = path
    if not found:
        there = ", ".join(sorted(p.name for p in folder.iterdir())) or "nothing"
        raise TaskError(
            f"{folder} holds no split: expected train.jsonl, validation.jsonl or test.jsonl (or .csv, .json); "
            f"found {there}."
        )
    return {name: read_file(found[name]) for name in dict.fromkeys(_SPLIT_NAMES.values()) if name in found}


def _read_jsonl(path: Path, text: str) -> list[Row]:
    rows: list[Row] = []
    # not splitlines(): that also breaks at U+2028 and others, which JSON allows inside strings
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        row = _parse(line, f"{path}, line {number}", "Every line is one object.")
        rows.append(_object(row, path, f"line {number}"))
    return rows


def _read_json(path: Path, text: str) -> list[Row]:
    rows = _parse(text, str(path), "Give a list of objects.")
    if not isinstance(rows, list):
        raise TaskError(f"{path} must hold a list of objects, got {type(rows).__name__}.")
    return [_object(row, path, f"item {number}") for number, row in enumerate(rows)]


def _parse(text: str, where: str, wanted: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_each_name_once)
    except json.JSONDecodeError as error:
        said = f"{error.msg.removesuffix(' at')} at {_position(error, text)}"
        raise TaskError(f"{where}: not JSON ({said}). {wanted}") from error
    except RecursionError as error:
        raise TaskError(f"{where}: lists or objects are nested too deeply to be read. {wanted}") from error
    except ValueError as error:  # of ours, and of numbers with too many digits
        raise TaskError(f"{where}: {error}. {wanted}") from error


def _position(error: json.JSONDecodeError, text: str) -> str:
    """Return the column and, in a text of several lines, the line."""
    return f"line {error.lineno}, column {error.colno}" if "\n" in text.strip() else f"column {error.colno}"


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _refuse_repeated([name for name, _ in pairs])
    return dict(pairs)


def _refuse_repeated(names: Sequence[Any]) -> None:
    """Raise ValueError for a repeated name, of which only the last value would be used silently."""
    repeated = [name for name, count in Counter(map(str, names)).items() if count > 1]
    if repeated:
        raise ValueError(f"two columns are called {repeated[0]!r}; rename one")


def _object(row: Any, path: Path, where: str) -> Row:
    if not isinstance(row, dict):
        raise TaskError(f"{path}, {where}: expected an object such as {{'text': ..., 'label': ...}}, got {row!r}.")
    return FileRow(row, f"{path}, {where}")


def _read_csv(path: Path, text: str) -> list[Row]:
    # the csv module, not pandas: a review that reads "None" or "NA" is text, not a missing value
    # not splitlines(): that also breaks at U+2028 and others, which a cell may hold
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    try:
        with long_cells():
            _refuse_repeated(reader.fieldnames or ())
            for row in reader:
                if None in row or None in row.values():
                    raise TaskError(
                        f"{path}, line {reader.line_num}: the row needs {len(reader.fieldnames or ())} cells, as the "
                        "header has columns, but has more or fewer. Quote cells that hold commas or line breaks."
                    )
                cells = {name: None if name == "label" and cell == "" else cell for name, cell in row.items()}
                rows.append(FileRow(cells, f"{path}, line {reader.line_num}"))
    except csv.Error as error:
        raise TaskError(f"{path}, line {reader.line_num}: not CSV ({error}).") from error
    except ValueError as error:
        raise TaskError(f"{path}: {error}.") from error
    return rows


_READERS: dict[str, Callable[[Path, str], list[Row]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
}


def _rows(table: Any) -> list[Row]:
    if isinstance(table, str | os.PathLike):
        return read_file(Path(table))
    if hasattr(table, "features") and hasattr(table, "to_list"):
        return _from_dataset(table)
    if hasattr(table, "to_dict") and hasattr(table, "columns"):
        try:
            _refuse_repeated(list(table.columns))
        except ValueError as error:
            raise TaskError(f"The DataFrame cannot be read: {error}.") from error
        return table.to_dict("records")
    if isinstance(table, Sequence) and not isinstance(table, bytes | bytearray):
        return list(table)
    raise TaskError(
        "records must be a list of dicts, a DataFrame, a Hugging Face data set, a path, or a dict from splits to "
        f"records, got {type(table).__name__}."
    )


def _from_dataset(dataset: Any) -> list[Row]:
    """Return the rows of a Hugging Face Dataset, with class labels by name; -1 means that a row has no label."""
    rows = dataset.to_list()
    for column, feature in dataset.features.items():
        names = getattr(feature, "names", None)
        if names is not None and hasattr(feature, "int2str"):
            for row in rows:
                value = row[column]
                row[column] = None if value is None or value < 0 else names[value]
    return rows
