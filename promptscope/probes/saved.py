"""Results in folders: `save` writes any kind of result, `load_result` reads it back equal."""

import csv
import dataclasses
import io
import json
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io
import torch
import xarray as xr
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from promptscope.checks import checked
from promptscope.errors import ProbeError, PromptError
from promptscope.files import long_cells, read_sealed, sha256_file, write_json, write_sealed, write_tensors, write_text
from promptscope.probes.result import ProbeResult
from promptscope.probes.saving import load_probe_result, save_result
from promptscope.prompts import Prompt, load_prompt
from promptscope.prompts.saving import save_prompt

_ABOUT, _ARRAYS = "result.json", "arrays.safetensors"

_HOMES = {
    "promptscope.account": "Account Part",
    "promptscope.account.compare": "Comparison",
    "promptscope.causal": "Answers Carriers Component Inputs PromptEffect Shifts SkillNeurons WordsComparison",
    "promptscope.comparison": "PromptComparison PromptVectors",
    "promptscope.interventions": "Importance",
    "promptscope.readings": "LogitLens NearestTokens Patchscope",
    "promptscope.tasks": "Encoded",
}
KINDS = {name: home for home, names in _HOMES.items() for name in names.split()}
"""The module of each kind of result. A file names a kind, and no other module is imported to load it."""


class Saved:
    """Base of results that can be saved: dataclasses of numbers, texts, arrays, tables, other results and prompts.

    >>> import tempfile, promptscope as ps
    >>> numbers = np.zeros((4, 2, 3))  # inputs, layers, heads
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ps.ProbeResult.from_examples(numbers, dims=("layer", "head")).save(folder)
    ...     ps.load_result(folder).values.shape
    (2, 3)
    """

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the result to *folder*, tables as CSV; `ps.load_result(folder)` reads it back equal."""
        folder = Path(folder)
        writer = _Writer(folder)
        fields = writer.fields(self)
        if writer.arrays:
            writer.files[_ARRAYS] = write_tensors(folder / _ARRAYS, writer.arrays)
        # Last: a folder that has it is whole.
        write_sealed(folder / _ABOUT, {"kind": type(self).__name__, "fields": fields, "sha256": writer.files})


@checked()
def load_result(folder: str | os.PathLike[str]) -> Any:
    """Read a result that `result.save(folder)` wrote: of a probe, a reading, an intervention, an account, ...

    Raises:
        ProbeError: *folder* holds no result, or one that is incomplete or was changed; the message names the file.

    >>> import tempfile, promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> found = ps.importance(model, ps.SoftPrompt(2).bind(model), task, limit=2, progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found.save(folder)
    ...     ps.load_result(folder).loss.values.equals(found.loss.values)
    True
    """
    folder = Path(folder)
    try:
        about = read_sealed(folder / _ABOUT, lambda found: "kind" in found)  # else a probe result's
    except OSError as error:
        raise ProbeError(f"{folder} holds no result: expected {_ABOUT}, as result.save() writes") from error
    except ValueError as error:
        raise ProbeError(f"the result in {folder} is damaged ({error}): save it again") from error
    if isinstance(about, dict) and "kind" not in about:
        return load_probe_result(folder)
    try:
        for name, expected in about["sha256"].items():
            if sha256_file(folder / name) != expected:
                raise ProbeError(f"{folder / name} was truncated or changed since it was saved: save the result again")
        return _Reader(folder).object(about["kind"], about["fields"])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OSError, SafetensorError) as error:
        raise ProbeError(f"the result in {folder} is damaged ({error!r}): save it again") from error
    except PromptError as error:
        raise ProbeError(f"the result in {folder} is damaged: {error}") from error


class _Writer:
    """Turns values into JSON, and collects what is written to files of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.arrays: dict[str, torch.Tensor] = {}
        self.files: dict[str, str] = {}  # name -> SHA-256
        self.names: set[str] = set()

    def fields(self, value: Any, keys: tuple[str, ...] = ()) -> dict[str, Any]:
        parts = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        return {name: self.value(part, keys, name) for name, part in parts.items()}

    def value(self, value: Any, keys: tuple[str, ...], field: str) -> Any:
        """Return the JSON of a value that is at *keys* of the mapping in *field*."""
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, list):
            return [self.value(one, keys, field) for one in value]
        if isinstance(value, tuple):
            return {"tuple": [self.value(one, keys, field) for one in value]}
        write = next((write for kind, write in _WRITERS.items() if isinstance(value, kind)), None)
        if write is not None:
            return write(self, value, self._name(keys or (field,)))
        if isinstance(value, Mapping):
            return {"map": [[self.value(key, keys, field), self.value(one, (*keys, str(key)), field)]
                            for key, one in value.items()]}  # fmt: skip
        if type(value).__name__ in KINDS and dataclasses.is_dataclass(value):
            return {"object": type(value).__name__, "fields": self.fields(value, keys)}
        raise ProbeError(f"{field} holds a {type(value).__name__}, which cannot be saved: use numbers, "
                         "texts, arrays, tables or results")  # fmt: skip

    def _name(self, keys: tuple[str, ...]) -> str:
        """Return a file name that is not used yet."""
        plain = "-".join("".join(c if c.isalnum() or c in " ._()-" else "_" for c in key) for key in keys)
        name, n = plain, 1
        while name.lower() in self.names:  # some file systems do not tell cases apart
            n += 1
            name = f"{plain} {n}"
        self.names.add(name.lower())
        return name

    def array(self, value: np.ndarray, name: str) -> dict[str, Any]:
        if value.dtype.kind not in "fiub":
            return {"texts": value.tolist(), "dtype": value.dtype.str}
        self.arrays[name] = torch.from_numpy(np.array(value))
        return {"array": name}

    def tensor(self, value: torch.Tensor, name: str) -> dict[str, Any]:
        self.arrays[name] = value
        return {"tensor": name}

    def table(self, value: pd.DataFrame, name: str) -> dict[str, Any]:
        kinds = [_column_kind(value.iloc[:, i]) for i in range(value.shape[1])]
        columns = [_cells(value.iloc[:, i], kind) for i, kind in enumerate(kinds)]
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(value.columns)
        lines.writerows(zip(*columns, strict=True))
        self.files[f"{name}.csv"] = write_text(self.folder / f"{name}.csv", text.getvalue())
        plain = isinstance(value.index, pd.RangeIndex) and value.index.equals(pd.RangeIndex(len(value)))
        index = None if plain else {"values": value.index.tolist(), "names": list(value.index.names)}
        return {"table": f"{name}.csv", "columns": [[_label(column), kind] for column, kind in
                zip(value.columns, kinds, strict=True)], "index": index}  # fmt: skip

    def result(self, value: ProbeResult, name: str) -> dict[str, Any]:
        self.files |= {f"{name}/{file}": sha256 for file, sha256 in save_result(value, self.folder / name).items()}
        return {"result": name}

    def dataset(self, value: xr.Dataset, name: str) -> dict[str, Any]:
        def of(arrays: Mapping[Any, xr.DataArray]) -> dict[str, Any]:
            return {str(key): [list(map(str, one.dims)), self.array(one.values, self._name((name, str(key))))]
                    for key, one in arrays.items()}  # fmt: skip

        return {"dataset": of(value.data_vars), "coords": of(value.coords)}

    def figure(self, value: go.Figure, name: str) -> dict[str, Any]:
        self.files[f"{name}.json"] = write_json(self.folder / f"{name}.json", json.loads(str(value.to_json())))
        return {"figure": f"{name}.json"}

    def prompt(self, value: Prompt, name: str) -> dict[str, Any]:
        folder = f"{name}.prompt"
        self.files |= {f"{folder}/{file}": sha256 for file, sha256 in save_prompt(value, self.folder / folder).items()}
        return {"prompt": folder}


_WRITERS: dict[type, Callable[[_Writer, Any, str], dict[str, Any]]] = {
    np.ndarray: _Writer.array,
    torch.Tensor: _Writer.tensor,
    pd.DataFrame: _Writer.table,
    ProbeResult: _Writer.result,
    xr.Dataset: _Writer.dataset,
    go.Figure: _Writer.figure,
    Prompt: _Writer.prompt,
}


class _Reader:
    """Makes values from the JSON and the files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        there = (folder / _ARRAYS).is_file()
        self.arrays = load_safetensors((folder / _ARRAYS).read_bytes()) if there else {}

    def object(self, kind: str, fields: Mapping[str, Any]) -> Any:
        made = getattr(import_module(KINDS[kind]), kind)
        return made(**{name: self.value(value) for name, value in fields.items()})

    def value(self, given: Any) -> Any:
        if isinstance(given, list):
            return [self.value(one) for one in given]
        if not isinstance(given, dict):
            return given
        what = next(iter(given))
        if what == "tuple":
            return tuple(map(self.value, given["tuple"]))
        if what == "map":
            return {self.value(key): self.value(one) for key, one in given["map"]}
        if what == "object":
            return self.object(given["object"], given["fields"])
        if what in ("array", "texts"):
            return self.array(given)
        if what == "tensor":
            return self.arrays[given["tensor"]]
        if what == "table":
            return self.table(given)
        if what == "result":
            return load_probe_result(self.folder / given["result"])
        if what == "dataset":
            made = ({name: (dims, self.array(one)) for name, (dims, one) in given[part].items()}
                    for part in ("dataset", "coords"))  # fmt: skip
            return xr.Dataset(*made)
        if what == "figure":
            return plotly.io.from_json((self.folder / given["figure"]).read_text(encoding="utf-8"))
        if what == "prompt":
            return load_prompt(self.folder / given["prompt"], strict=False)
        raise ValueError(f"unknown entry {what!r}")

    def array(self, given: Mapping[str, Any]) -> np.ndarray:
        if "texts" in given:
            return np.array(given["texts"], dtype=given["dtype"])
        return self.arrays[given["array"]].numpy()

    def table(self, given: Mapping[str, Any]) -> pd.DataFrame:
        with open(self.folder / given["table"], encoding="utf-8", newline="") as file, long_cells():
            header, *rows = csv.reader(file)
        names, kinds = [name for name, _ in given["columns"]], [kind for _, kind in given["columns"]]
        if header != list(map(str, names)):
            raise ValueError(f"{given['table']} has the columns {header}, expected {names}")
        columns = [_column([row[i] for row in rows], kind) for i, kind in enumerate(kinds)]
        table = pd.DataFrame(dict(enumerate(columns)), index=range(len(rows)))
        table.columns = pd.Index(names)
        if given["index"] is not None:
            values, names = given["index"]["values"], given["index"]["names"]
            several = len(names) > 1
            table.index = (
                pd.MultiIndex.from_tuples(map(tuple, values), names=names)
                if several
                else pd.Index(values, name=names[0])
            )
        return table


def _column_kind(column: pd.Series) -> str:
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "fiub":
        return column.dtype.str
    if not all(isinstance(cell, str) for cell in column):
        return "json"
    return "text" if column.dtype == object else "str"


def _label(column: Any) -> str | int:
    if isinstance(column, str) or (isinstance(column, int | np.integer) and not isinstance(column, bool)):
        return column if isinstance(column, str) else int(column)
    raise ProbeError(f"columns of a table that is saved must be named by texts or numbers, got {column!r}")


def _cells(column: pd.Series, kind: str) -> list[str]:
    if kind == "json":
        return [json.dumps(_plain(cell), ensure_ascii=False) for cell in column]
    return [str(cell) for cell in column]


def _plain(cell: Any) -> Any:
    if isinstance(cell, np.generic):
        return cell.item()
    return list(cell) if isinstance(cell, tuple) else cell


def _column(cells: list[str], kind: str) -> Any:
    if kind in ("text", "str"):
        return pd.Series(cells, dtype=object if kind == "text" else "str")
    if kind == "json":
        return pd.Series([json.loads(cell) for cell in cells], dtype=object)
    if kind.endswith("b1"):
        return np.array([{"True": True, "False": False}[cell] for cell in cells], dtype=bool)
    return np.array(cells, dtype=str).astype(kind) if cells else np.array([], dtype=kind)
