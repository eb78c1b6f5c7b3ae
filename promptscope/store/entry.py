"""One entry of the store: one capture in one pass over one list of inputs, divided into shards."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from torch import Tensor

from promptscope.errors import StoreError
from promptscope.files import content_hash, read_json, write_sealed
from promptscope.store.shard import ShardRecord, read_shard, write_shard

FORMAT = 2


def read_index(path: Path) -> dict[str, Any]:
    """Read an entry's `index.json`, and check that it was not changed.

    Raises:
        StoreError: it is damaged, was changed, or has another format.
    """
    try:
        index = read_json(path)
        found = index["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, repr(error)) from error
    if found != FORMAT:
        raise StoreError(
            f"{path} has format {found}, and this version of promptscope reads {FORMAT}: use another store folder"
        )
    checksum = index.pop("checksum", None)
    if checksum != content_hash(index):
        raise _damaged(path, "its checksum does not match: it was changed or is truncated")
    return index


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(f"{path} is damaged ({why}). Delete the folder {path.parent} and run the same probe again")


class Entry:
    """Captures of *n_examples* inputs in a folder: `index.json`, and one safetensors file for each shard.

    Shard s holds the examples `s * shard_size` up to `(s + 1) * shard_size` (exclusive), in the order of the inputs.
    The index is rewritten atomically after each shard, and every shard that it lists is complete. An entry without an
    index is empty.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     entry = Entry(Path(folder), {"model": "m"}, n_examples=100, shard_size=32, ragged_dim=None)
    ...     entry.n_shards, entry.complete
    (4, False)
    """

    def __init__(
        self, folder: Path, key: dict[str, Any], n_examples: int, shard_size: int, ragged_dim: int | None
    ) -> None:
        self.folder = folder
        self.key = key
        self.n_examples = n_examples
        self.shard_size = shard_size
        self.ragged_dim = ragged_dim
        self.layers: tuple[int, ...] = ()
        self._shards: dict[int, ShardRecord] = {}
        self._lock: FileLock | None = None
        self.refresh()

    @property
    def n_shards(self) -> int:
        """Number of shards of the complete entry."""
        return -(-self.n_examples // self.shard_size)

    @property
    def complete(self) -> bool:
        """True if all shards are stored."""
        return len(self._shards) == self.n_shards

    def __contains__(self, shard: int) -> bool:
        return shard in self._shards

    def examples_of(self, shard: int) -> range:
        """Return the indices of a shard's examples."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.n_examples))

    def refresh(self) -> None:
        """Read the index again, since another process may have added shards. Shards without a file do not count.

        Raises:
            StoreError: the index is damaged, has another format, or has another key than the folder's name says.
        """
        path = self.folder / "index.json"
        if not path.exists():
            self._shards = {}
            return
        try:
            index = read_index(path)
            layers = tuple(index["layers"])
            shards = {int(number): ShardRecord(**record) for number, record in index["shards"].items()}
            key = index["key"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(path, repr(error)) from error
        if key != self.key:
            raise StoreError(
                f"{self.folder} has another key in index.json than its name says: the index was "
                "changed. Delete the folder and run the same probe again"
            )
        self.layers = layers
        self._shards = {s: record for s, record in shards.items() if (self.folder / record.file).exists()}

    def write(self, shard: int, values: Tensor, lengths: Tensor, special: Tensor, layers: tuple[int, ...]) -> None:
        """Add one shard: `values (X, layer, ...)`. The caller must hold the lock."""
        if self._lock is None or not self._lock.is_locked:
            raise StoreError(f"entry {self.folder} must be locked before it is written: use store.writing([entry])")
        file = self.folder / f"shard-{shard:05d}.safetensors"
        try:
            self._shards[shard] = write_shard(file, values, lengths, special, self.ragged_dim)
            self.layers = layers
            self._write_index()
        except OSError as error:
            raise StoreError(
                f"cannot write {file} ({error}): free some space or name another store folder. What "
                "was written before is complete, and the same probe continues from there"
            ) from error

    def _write_index(self) -> None:
        index = {
            "format": FORMAT,
            "key": self.key,
            "n_examples": self.n_examples,
            "layers": list(self.layers),
            "complete": self.complete,
            "shards": {str(number): asdict(record) for number, record in sorted(self._shards.items())},
        }
        write_sealed(self.folder / "index.json", index)

    def read(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield the shards one by one, as dicts: `values (X, layer, ...)`, `lengths (X,)`, `special (X, n)`.

        Raises:
            StoreError: the entry is not complete, or a file is missing, truncated or was changed; the message names it.
        """
        if not self.complete:
            raise StoreError(
                f"{self.folder} holds {len(self._shards)} of {self.n_shards} shards: run the probe again to complete it"
            )
        for shard in range(self.n_shards):
            yield read_shard(self.folder, self._shards[shard], self.ragged_dim)

    def lock(self, timeout: float = -1.0) -> None:
        """Lock the entry for writing; wait for another process that holds the lock.

        It waits up to *timeout* seconds (-1: without limit). Afterwards the entry knows what the other process wrote.

        Raises:
            TimeoutError: the other process did not finish in time.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.folder / ".lock")
            self._lock.acquire(timeout=timeout)
        except Timeout as error:
            self._lock = None
            raise TimeoutError(
                f"another process is still writing {self.folder}: wait for it, or use another store folder"
            ) from error
        except OSError as error:
            self._lock = None
            raise StoreError(
                f"cannot write into the activation store {self.folder} ({error.strerror or error}), and it does not "
                "hold all of these captures yet: name a store folder that can be written to"
            ) from error
        for leftover in self.folder.glob(".*.tmp"):  # of a process that was killed mid-write
            leftover.unlink(missing_ok=True)
        self.refresh()

    def unlock(self) -> None:
        """Release the lock, so that other processes can write."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
