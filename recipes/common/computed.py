"""Numbers that were computed once for a model, a prompt and a task, kept in files."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import promptscope as ps
from promptscope.engine import matmul
from promptscope.errors import RunError
from promptscope.files import content_hash, read_json, sha256_file, write_json


class Computed:
    """A folder of JSON values, one file for each name, with all that decided them.

    A value is computed again whenever one of these has changed: weights (also by editing), configuration or dtype of a
    model, numbers of a prompt, records or template of a task, a setting.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(
        self, name: str, decided_by: Mapping[str, Any], compute: Callable[[], Any], files: Sequence[str] = ()
    ) -> Any:
        """Return the value kept under *name* if *decided_by* has not changed; else compute it, keep it, return it.

        *files*: files and folders in this folder that *compute* writes. They belong to the value: if one of them has
        changed or is gone, all of them are deleted, and the value is computed again.

        A file that cannot be read (a disk that was full, an interrupted copy) counts as missing; the user is told.

        Raises:
            RunError: a folder has the name of the value's file.
        """
        path = self.folder / f"{name.replace('/', '-')}.json"
        if path.is_dir():
            raise RunError(f"{str(path)!r} is a folder, expected a file: delete it, or give another folder for results")
        key, kept = content_hash(decided_by), _read(path)
        if kept is not None and kept["key"] == key:
            if kept["check"] == content_hash(kept["value"]) and self._are_there(kept.get("files"), files):
                return kept["value"]
            kept = None
        if kept is None and path.is_file():
            what = " or its files are damaged or of an older version" if files else " is damaged"
            print(f"{path}{what}, so it is computed again", flush=True)
        for place in map(self.folder.joinpath, files):
            shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink(missing_ok=True)
        value = compute()
        sums = {"files": self._sums(files)} if files else {}
        write_json(path, {"key": key, "check": content_hash(value), "of": decided_by, "value": value, **sums})
        return json.loads(json.dumps(value))  # as it will be read; the file may be another process's by now

    def _sums(self, files: Sequence[str]) -> dict[str, str]:
        places = [self.folder / name for name in files]
        whole = [path for place in places for path in (place, *sorted(place.rglob("*"))) if path.is_file()]
        return {path.relative_to(self.folder).as_posix(): sha256_file(path) for path in whole}

    def _are_there(self, sums: Any, files: Sequence[str]) -> bool:
        """Return whether the files are those whose checksums are *sums*; files that were added do not matter."""
        return not files or (isinstance(sums, dict) and sums.items() <= self._sums(files).items())


def _read(path: Path) -> dict[str, Any] | None:
    """Return what a file keeps, or None if it keeps nothing that can be read."""
    try:
        kept = read_json(path)
    except (OSError, ValueError):
        return None
    return kept if isinstance(kept, dict) and {"key", "check", "value"} <= kept.keys() else None


def identity_of(model: ps.HookedModel) -> str:
    """Return a hash of what decides a model's numbers: weights, configuration, dtype, hooks, rounded products."""
    rounded = {} if matmul(model) == "float32" else {"matmul": matmul(model)}
    return content_hash({**model.identity, **rounded})


def decided_by(
    model: str | Mapping[str, str], prompt: ps.Prompt | None, task: ps.Task, split: str = "test", **settings: Any
) -> dict[str, Any]:
    """Return all that decides a number, for `Computed.get`.

    *model* is the result of `identity_of` (for several models: name -> identity, in their order); as that function
    reads all weights, call it once for many prompts. *settings*: whatever else decides the number, as plain values.
    """
    return {
        "model": [list(item) for item in model.items()] if isinstance(model, Mapping) else model,
        "prompt": None if prompt is None else prompt.content_hash(),
        "data": task.data_hash(split),
        "settings": _plain(settings),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
