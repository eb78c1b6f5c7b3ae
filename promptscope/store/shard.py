"""One file of an entry: some examples' captures, packed without padding and checked when read."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from torch import Tensor

from promptscope.errors import StoreError
from promptscope.files import sha256_file, write_tensors


@dataclass(frozen=True)
class ShardRecord:
    """What the index knows of a shard file."""

    file: str
    sha256: str
    size: int


def write_shard(path: Path, values: Tensor, lengths: Tensor, special: Tensor, ragged_dim: int | None) -> ShardRecord:
    """Write captures of some examples and where their tokens are; return what the index must know.

    *values* is `(X, ...)`, *lengths* `(X,)`, *special* `(X, n)`. With *ragged_dim*, that dimension of
    *values* counts tokens; only real ones are written.
    """
    real = torch.arange(special.shape[1]) < lengths[:, None]
    if ragged_dim is not None:
        values = values.movedim(ragged_dim, 1)[real]
    write_tensors(path, {"values": values, "lengths": lengths, "special": special[real]})
    return ShardRecord(path.name, sha256_file(path), path.stat().st_size)


def read_shard(folder: Path, record: ShardRecord, ragged_dim: int | None) -> dict[str, np.ndarray]:
    """Read a shard back: `values`, `lengths` and `special`, padded to the longest example (with 0 and True).

    Raises:
        StoreError: the file is missing, truncated or altered.
    """
    path = folder / record.file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error}. Run the same probe again to compute it anew") from error
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise StoreError(
            f"{path} is truncated or altered: it has {len(content)} bytes (written: {record.size}) and not the "
            "checksum in index.json. Delete this file and run the same probe again: only its examples are computed anew"
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
