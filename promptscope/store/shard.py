"""One file of an entry: the captures of some examples, stored without padding and checked when they are read."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from torch import Tensor

from promptscope.errors import StoreError
from promptscope.files import write_tensors


@dataclass(frozen=True)
class ShardRecord:
    """What the index knows about a shard file."""

    file: str
    sha256: str
    size: int


def write_shard(path: Path, values: Tensor, lengths: Tensor, special: Tensor, ragged_dim: int | None) -> ShardRecord:
    """Write captures of some examples, and where their tokens are; return what the index must know.

    *values* is `(X, ...)`, *lengths* `(X,)`, *special* `(X, n)`. With *ragged_dim*, that dimension of *values* counts
    tokens, and padding is not written.
    """
    real = torch.arange(special.shape[1]) < lengths[:, None]
    if ragged_dim is not None:
        values = values.movedim(ragged_dim, 1)[real]
    sha256 = write_tensors(path, {"values": values, "lengths": lengths, "special": special[real]})
    return ShardRecord(path.name, sha256, path.stat().st_size)


def read_shard(folder: Path, record: ShardRecord, ragged_dim: int | None) -> dict[str, np.ndarray]:
    """Read a shard: a dict with `values`, `lengths` and `special`.

    They are padded to the longest example: values with 0, special with True.

    Raises:
        StoreError: the file is missing, truncated or was changed.
    """
    path = folder / record.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"cannot read {path}: {error}. Delete it and run the same probe again to compute it anew"
        ) from error
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise StoreError(
            f"{path} was truncated or changed: its checksum is not that in index.json (it has "
            f"{len(content)} bytes, {record.size} were written). Delete this file and run the same "
            "probe again: only its examples are computed anew"
        )
    try:
        tensors = load_safetensors(content)
    except SafetensorError as error:
        raise StoreError(f"{path} is not a shard of an activation store: {error}. Delete its folder") from error
    lengths = tensors["lengths"]
    real = np.arange(max(lengths.max(initial=0), 0)) < lengths[:, None]
    special = np.ones(real.shape, dtype=bool)
    special[real] = tensors["special"]
    values = tensors["values"]
    if ragged_dim is not None:
        padded = np.zeros(real.shape + values.shape[1:], dtype=values.dtype)
        padded[real] = values
        values = np.moveaxis(padded, 1, ragged_dim)
    return {"values": values, "lengths": lengths, "special": special}
