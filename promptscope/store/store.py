"""The activation store: captures on disk, found again by what they were made from."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from promptscope.checks import checked
from promptscope.errors import StoreError
from promptscope.files import content_hash
from promptscope.store.capture import Capture
from promptscope.store.entry import Entry, read_index


class ActivationStore:
    """A folder of entries, one for each (model, prompt, inputs, capture), named by the SHA-256 of these four.

    ::

        folder/<first 16 digits of the key>/index.json
                                            shard-00000.safetensors, ...

    Safe to kill at any time (what is listed in an index is whole, the rest is computed again) and to use from
    several processes at once (one writes an entry, the others wait and read it).

    Raises:
        StoreError: *folder* is a file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     len(ActivationStore(folder).entries())
    0
    """

    @checked(shard_size=1)
    def __init__(self, folder: str | os.PathLike[str], shard_size: int = 64) -> None:
        self.folder = Path(folder)
        self.shard_size = shard_size
        if self.folder.exists() and not self.folder.is_dir():
            raise StoreError(
                f"the activation store {str(folder)!r} is a file: expected a folder, or a name not taken yet"
            )

    def entry(
        self,
        capture: Capture,
        model: dict[str, Any],
        prompt: str | None,
        data: str,
        n_examples: int,
        positions: int = 0,
    ) -> Entry:
        """Find (or plan) the entry of one capture.

        Args:
            capture: what is kept.
            model: identity of the model, JSON values.
            prompt: content hash of the prompt, None for the pass without one.
            data: hash of the encoded inputs.
            n_examples: number of inputs.
            positions: the position of the first text token in the pass without a prompt.
        """
        key = {
            "model": model,
            "prompt": prompt,
            "data": data,
            "capture": capture.spec(),
            "positions": positions,
            "shard_size": self.shard_size,
        }
        key = json.loads(json.dumps(key))  # tuples become lists, as they will in index.json
        ragged = None if capture.ragged_dim is None else capture.ragged_dim + 1  # the layer's dimension comes first
        return Entry(self.folder / content_hash(key)[:16], key, n_examples, self.shard_size, ragged)

    @contextmanager
    def writing(self, entries: Iterable[Entry]) -> Iterator[None]:
        """Hold several entries for writing; waits for other processes that write one of them."""
        with ExitStack() as held:
            for entry in sorted(entries, key=lambda entry: entry.folder.name):  # one order for all: no deadlock
                held.callback(entry.unlock)  # first: an interrupt may come as soon as the lock is taken
                try:
                    entry.lock(timeout=0.0)
                except TimeoutError:
                    tqdm.write(f"waiting for another process that fills {entry.folder}", file=sys.stderr)
                    entry.lock()
            yield

    def entries(self) -> pd.DataFrame:
        """List what is stored: one row per entry, with its capture, model, prompt, size and whether it is complete.

        Raises:
            StoreError: an index is damaged.
        """
        rows = []
        for path in sorted(self.folder.glob("*/index.json")):
            index = read_index(path)
            key = index["key"]
            rows.append(
                {
                    "entry": path.parent.name,
                    "capture": key["capture"]["capture"],
                    "site": key["capture"]["site"],
                    "model": key["model"].get("weights_hash", "")[:12],
                    "prompt": (key["prompt"] or "")[:12],
                    "data": key["data"][:12],
                    "n_examples": index["n_examples"],
                    "bytes": sum(record["size"] for record in index["shards"].values()),
                    "complete": index["complete"],
                }
            )
        columns = ["entry", "capture", "site", "model", "prompt", "data", "n_examples", "bytes", "complete"]
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self) -> str:
        try:
            entries = self.entries()
        except StoreError as error:
            return f"ActivationStore({str(self.folder)!r}: {error})"
        return f"ActivationStore({str(self.folder)!r}: {len(entries)} entries, {entries['bytes'].sum() / 1e6:.1f} MB)"
