"""Files that are either whole or absent: atomic writes, checked reads, content hashes."""

import errno
import hashlib
import json
import os
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
import xxhash
from jaxtyping import UInt8
from safetensors import SafetensorError
from safetensors.torch import save_file

from promptscope.errors import FileError, NoChecksumWarning, nearest

__all__ = [
    "content_hash",
    "is_there",
    "read_json",
    "replace_atomically",
    "sha256_file",
    "write_json",
    "write_tensors",
    "write_text",
]

_HASHED_AT_ONCE = 2**22  # numbers
_BLOCK = 2**20  # numbers of 16 bits, on a GPU


@contextmanager
def replace_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path in the folder of *path*; it takes *path*'s place only when the block ends well.

    Raises:
        FileError: the disk is full, the folder cannot be written to, or *path* is a folder.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replace_atomically(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("whole or not at all")
    ...     [path.name for path in Path(folder).iterdir()]
    ['a.txt']
    """
    path = Path(path)
    # Not mkstemp: its files are for their owner only, and a run or report is to be shared as the umask says.
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.touch(exist_ok=False)
            yield temporary
            with open(temporary, "rb") as file:  # a rename may reach the disk before the data does
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with suppress(OSError):  # where it could not be made, that is the error to tell
                temporary.unlink(missing_ok=True)


@contextmanager
def writable(path: str | os.PathLike[str]) -> Iterator[None]:
    """Tell of what keeps the block from writing *path*.

    Raises:
        FileError: an OSError came out of the block.
    """
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        raise FileError(
            error.errno or errno.EIO,
            f"cannot write {os.fspath(path)!r} ({error.strerror or error}): free space, check your rights, or name "
            "another folder",
        ) from error


def is_there(path: str | os.PathLike[str]) -> bool:
    """Return whether a file or folder exists; a text that cannot be a path (too long, with a NUL byte) names none.

    >>> is_there("word " * 1000)
    False
    """
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def nearest_file(path: str | os.PathLike[str]) -> str:
    """Return `" Did you mean 'x'?"` for the name in the same folder that is closest to an absent path's, or a hint.

    >>> nearest_file("nowhere/at/all")
    ' Check the path.'
    """
    path = Path(path)
    names = [other.name for other in path.parent.iterdir()] if is_there(path.parent) and path.parent.is_dir() else []
    return nearest(path.name, names) or " Check the path."


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write *text* as UTF-8, atomically.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_text(Path(folder) / "a.txt", "abc")
    ...     (Path(folder) / "a.txt").read_text(encoding="utf-8")
    'abc'
    """
    with replace_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write *value* as indented JSON, atomically.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_json(Path(folder) / "a.json", {"steps": 3})
    ...     (Path(folder) / "a.json").read_text().split()
    ['{', '"steps":', '3', '}']
    """
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file. Raises ValueError for anything that is not one.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_json(Path(folder) / "a.json", {"steps": 3})
    ...     read_json(Path(folder) / "a.json")
    {'steps': 3}
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("lists or objects in one another too deeply") from error


def write_sealed(path: str | os.PathLike[str], value: Mapping[str, Any]) -> None:
    """Write a mapping as JSON with a checksum of itself, which `read_sealed` compares."""
    value = json.loads(json.dumps(value))  # tuples and numbers as keys become what they will be when they are read
    write_json(path, {**value, "checksum": content_hash(value)})


def read_sealed(path: str | os.PathLike[str], ours: Callable[[dict[str, Any]], bool] = bool) -> Any:
    """Read what `write_sealed` wrote, without the checksum; a file that has none is read as it is, with a warning.

    *ours*: whether that can be a file of the caller's; of others, which it refuses, nothing is said here.

    Raises:
        ValueError: it is not JSON, or was changed since.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_sealed(Path(folder) / "a.json", {"steps": 3})
    ...     read_sealed(Path(folder) / "a.json")
    {'steps': 3}
    """
    value = read_json(path)
    if not isinstance(value, dict):
        return value
    if "checksum" not in value:
        if not ours(value):
            return value
        warnings.warn(
            f"{str(path)!r} has no checksum, so whether it was changed cannot be told: it was written by an older "
            "version, or by hand. What is saved again gets one",
            NoChecksumWarning,
            stacklevel=3,
        )
    elif value.pop("checksum") != content_hash(value):
        raise ValueError("it is not what its own checksum says")
    return value


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a safetensors file, atomically.

    >>> import tempfile
    >>> from safetensors.torch import load_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_tensors(Path(folder) / "a.safetensors", {"x": torch.zeros(2, 3)})
    ...     load_file(Path(folder) / "a.safetensors")["x"].shape
    torch.Size([2, 3])
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replace_atomically(path) as temporary:
        try:
            save_file(whole, str(temporary), metadata=dict(metadata) if metadata else None)
        except SafetensorError as error:  # a full disk, of which safetensors makes no OSError
            raise OSError(errno.EIO, str(error)) from error


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes as hex.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_text(Path(folder) / "a.txt", "abc")
    ...     sha256_file(Path(folder) / "a.txt")[:8]
    'ba7816bf'
    """
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
    >>> [fingerprint(x) == fingerprint(y) for y in (x + 0, -x, x.flip(0))]
    [True, False, False]
    """
    about = f"{tensor.dtype}{tuple(tensor.shape)}"
    bytes_ = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    if tensor.device.type != "cpu":
        return f"{about}{hash_on_device(bytes_)}"
    digest = xxhash.xxh3_128(about.encode())
    if bytes_.numel():
        digest.update(bytes_.numpy().data)
    return digest.hexdigest()


def hash_on_device(data: UInt8[torch.Tensor, "n"]) -> list[int]:
    """Return four 32-bit hashes of *data*, computed where it is.

    Multilinear hashing: numbers times random multipliers, modulo 2^64, of which the upper halves count; first within
    blocks, then over the blocks. Two arrays of one length collide with a chance of about 2^-31 in each of the four.
    """
    numbers = torch.nn.functional.pad(data, (0, len(data) % 2)).view(torch.int16)
    weights = _multipliers(data.device)
    blocks = numbers.split(weights.shape[1])
    factors = _random_numbers(1, len(blocks)).to(data.device)
    total = torch.zeros(4, dtype=torch.int64, device=data.device)
    for i, block in enumerate(blocks):
        total += ((block.long() * weights[:, : len(block)]).sum(dim=1) >> 32) * factors[:, i]
    return (total >> 32).tolist()


@cache
def _multipliers(device: torch.device) -> torch.Tensor:
    return _random_numbers(0, _BLOCK).to(device)


def _random_numbers(seed: int, n: int) -> torch.Tensor:
    return torch.randint(-(2**62), 2**62, (4, n), generator=torch.Generator().manual_seed(seed))
