"""Files that are either whole or absent: atomic writes, checked reads, content hashes."""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors.torch import save_file

_HASHED_AT_ONCE = 2**22  # numbers


@contextmanager
def replace_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside *path*; it takes *path*'s place only when the block ends well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not mkstemp: its files are for their owner only, and a run or report is to be shared as the umask says.
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        with open(temporary, "rb") as file:  # a rename may reach the disk before the data does
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write *text* as UTF-8, atomically."""
    with replace_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write *value* as indented JSON, atomically."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a safetensors file, atomically."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replace_atomically(path) as temporary:
        save_file(whole, str(temporary), metadata=dict(metadata) if metadata else None)


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(value: Any) -> str:
    """Return the SHA-256 of a JSON-able value, the same for equal values whatever their key order.

    >>> content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def tensor_hash(tensor: torch.Tensor, dtype: torch.dtype | None = None) -> str:
    """Return the SHA-256 of a tensor's dtype, shape and bytes as hex; with *dtype*, of its numbers in that type."""
    dtype = dtype or tensor.dtype
    digest = hashlib.sha256(f"{dtype}{tuple(tensor.shape)}".encode())
    for part in tensor.detach().reshape(-1).split(_HASHED_AT_ONCE):  # an embedding in another type takes a gigabyte
        digest.update(part.to(dtype).cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def fingerprint(tensor: torch.Tensor) -> str:
    """Return a 128-bit hash of a tensor's type, shape and numbers: notices an edit about as fast as memory is read.

    Unlike `tensor_hash` it is not meant for files: on a GPU it is another hash, computed there. PyTorch's own count of
    edits, `_version`, misses those through `tensor.data`.

    >>> x = torch.tensor([1.0, -1.0])
    >>> [fingerprint(x) == fingerprint(y) for y in (x.flip(0), -x, x + 0)]
    [False, False, True]
    """
    about = f"{tensor.dtype}{tuple(tensor.shape)}"
    flat = tensor.detach().contiguous().reshape(-1)
    if tensor.device.type != "cpu":
        return f"{about}{_hash_on_device(flat)}"
    digest = xxhash.xxh3_128(about.encode())
    if flat.numel():
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _hash_on_device(flat: torch.Tensor) -> list[int]:
    """Hash bytes by random multipliers modulo 2^64 (multilinear hashing), of which the upper halves count."""
    raw = flat.view(torch.uint8)
    numbers = torch.nn.functional.pad(raw, (0, len(raw) % 2)).view(torch.int16)
    generator = torch.Generator().manual_seed(0)
    size = min(_HASHED_AT_ONCE, max(1, len(numbers)))
    limits = (-(2**62), 2**62)
    found = []
    for _ in range(4):
        weights = torch.randint(*limits, (size,), generator=generator).to(flat.device)
        factors = torch.randint(*limits, (-(-len(numbers) // size) or 1,), generator=generator).tolist()
        total = torch.zeros((), dtype=torch.int64, device=flat.device)
        for factor, part in zip(factors, numbers.split(size), strict=False):
            inner = (part.long() * weights[: len(part)]).sum() >> 32
            total += inner * factor
        found.append(total >> 32)
    return torch.stack(found).tolist()
