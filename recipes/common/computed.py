"""Numbers that were computed once for a model, a prompt and a task, kept in files."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import promptscope as ps
from promptscope.engine import matmul
from promptscope.files import content_hash, read_json, write_json


class Computed:
    """A folder of JSON values, one file for each name, with all that decided them.

    A value is computed again whenever one of these has changed: weights (also by editing), configuration or dtype of a
    model, numbers of a prompt, records or template of a task, a setting. Other files that a computation writes are not
    managed here.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str, decided_by: Mapping[str, Any], compute: Callable[[], Any]) -> Any:
        """Return the value kept under *name* if *decided_by* has not changed; else compute it, keep it, return it.

        A file that cannot be read (a disk that was full, an interrupted copy) counts as missing.
        """
        path = self.folder / f"{name.replace('/', '-')}.json"
        key = content_hash(decided_by)
        try:
            kept = read_json(path)
            if kept["key"] == key and kept["check"] == content_hash(kept["value"]):
                return kept["value"]
        except (OSError, ValueError, KeyError, TypeError):
            pass
        value = compute()
        write_json(path, {"key": key, "check": content_hash(value), "of": decided_by, "value": value})
        return json.loads(json.dumps(value))  # as it will be read; the file may be another process's by now


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
