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
    """A folder of captures: one entry for each (model, prompt, inputs, capture), named by the SHA-256 of these four.

    ::

        folder/<first 16 digits of the key>/index.json
                                            shard-00000.safetensors, ...

    A process that uses it can be stopped at any time: what an index lists is complete, and the rest is computed again.
    Several processes can use it at once: one writes an entry, the others wait and read it.

    Args:
        folder: it is made if it does not exist.
        shard_size: inputs in one file.

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
                f"the activation store {str(folder)!r} must be a folder, or a path that does not "
                "exist yet, and it is a file"
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
        """Return the entry of one capture, which may be empty or incomplete.

        Args:
            capture: what is kept.
            model: identity of the model (`HookedModel.identity`), JSON values.
            prompt: content hash of the prompt; None for the pass without one.
            data: hash of the encoded inputs.
            n_examples: number of inputs.
            positions: position of the first text token in the pass without a prompt.
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
        """Lock several entries for writing in a `with` block; wait for other processes that write one of them."""
        with ExitStack() as held:
            for entry in sorted(entries, key=lambda entry: entry.folder.name):  # one order for all: no deadlock
                held.callback(entry.unlock)  # first: an interrupt may come as soon as the lock is taken
                try:
                    entry.lock(timeout=0.0)
                except TimeoutError:
                    tqdm.write(f"waiting for another process that is writing {entry.folder}", file=sys.stderr)
                    entry.lock()
            yield

    def entries(self) -> pd.DataFrame:
        """List what is stored: one row for each entry.

        Columns: its capture, model, prompt, size in bytes, and whether it is complete.

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
