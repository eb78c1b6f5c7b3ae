"""Atomic writes (an interrupted one leaves no half-written file), reads that verify checksums, and content hashes."""

import csv
import errno
import hashlib
import json
import os
import threading
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
    "read_sealed",
    "replace_atomically",
    "sha256_file",
    "writable",
    "write_json",
    "write_sealed",
    "write_tensors",
    "write_text",
]

_CELLS = threading.RLock()  # of those who read CSV
_HASHED_AT_ONCE = 2**22  # numbers
_BLOCK = 2**20  # numbers of 16 bits, on a GPU


@contextmanager
def replace_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of *path*; it is renamed to *path* if the block ends without an exception.

    After an exception, the temporary file is deleted and *path* is unchanged. Missing folders are made.

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
    """Turn an OSError of the block, which writes *path*, into one that says which path and what to do.

    Raises:
        FileError: an OSError came out of the block.

    >>> try:
    ...     with writable("scores.json"):
    ...         raise OSError(28, "No space left on device")
    ... except FileError as error:
    ...     print(str(error).partition(":")[0])
    cannot write 'scores.json' (No space left on device)
    """
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        raise FileError(
            error.errno or errno.EIO,
            f"cannot write {os.fspath(path)!r} ({error.strerror or error}): free space, check your rights, or give "
            "another folder",
        ) from error


def is_there(path: str | os.PathLike[str]) -> bool:
    """Return whether a file or folder exists; False too for text that cannot be a path (too long, a NUL byte).

    >>> is_there("word " * 1000)
    False
    """
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def is_valid(text: str) -> bool:
    r"""Return whether *text* can be written: a lone surrogate cannot.

    >>> is_valid("caf\u00e9"), is_valid("\ud800")
    (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def nearest_file(path: str | os.PathLike[str]) -> str:
    """Return a hint about a *path* that does not exist: `" Did you mean 'x'?"` for a similar name in its folder.

    Without a similar name: `" Check the path."`

    >>> nearest_file("nowhere/at/all")
    ' Check the path.'
    """
    path = Path(path)
    names = [other.name for other in path.parent.iterdir()] if is_there(path.parent) and path.parent.is_dir() else []
    return nearest(path.name, names) or " Check the path."


def write_text(path: str | os.PathLike[str], text: str) -> str:
    """Write *text* as UTF-8, atomically, and return the SHA-256 of what was written as hex.

    The file at *path* may be another writer's by then, and a checksum of that one would pass what was mixed for whole.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_text(Path(folder) / "a.txt", "abc")[:8]
    ...     (Path(folder) / "a.txt").read_text(encoding="utf-8")
    'ba7816bf'
    'abc'
    """
    with replace_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
        return sha256_file(temporary)


@contextmanager
def long_cells() -> Iterator[None]:
    """Let Python's `csv` read cells of any length in a `with` block; the limit is the process's, and is put back.

    >>> before = csv.field_size_limit()
    >>> with long_cells():
    ...     len(next(csv.reader(["a" * 200_000]))[0])
    200000
    >>> csv.field_size_limit() == before
    True
    """
    with _CELLS:
        before = csv.field_size_limit(2**31 - 1)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def write_json(path: str | os.PathLike[str], value: Any) -> str:
    """Write *value* as indented JSON, atomically, and return the SHA-256 of what was written as hex.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_json(Path(folder) / "a.json", {"steps": 3})
    ...     (Path(folder) / "a.json").read_text().split()
    ['{', '"steps":', '3', '}']
    """
    return write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Return the value of a JSON file.

    Raises:
        ValueError: the file is not JSON.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_json(Path(folder) / "a.json", {"steps": 3})
    ...     read_json(Path(folder) / "a.json")
    {'steps': 3}
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("lists or objects are nested too deeply") from error


def write_sealed(path: str | os.PathLike[str], value: Mapping[str, Any]) -> str:
    """Write a mapping as JSON with a checksum of its content, which `read_sealed` verifies.

    Return the SHA-256 of the file that was written as hex.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_sealed(Path(folder) / "a.json", {"steps": 3})
    ...     sorted(read_json(Path(folder) / "a.json"))
    ['checksum', 'steps']
    """
    value = json.loads(json.dumps(value))  # tuples and numbers as keys become what they will be when they are read
    return write_json(path, {**value, "checksum": content_hash(value)})


def read_sealed(path: str | os.PathLike[str], ours: Callable[[dict[str, Any]], bool] = bool) -> Any:
    """Return the value of a JSON file that `write_sealed` wrote, without its checksum.

    A file without a checksum is returned with a NoChecksumWarning.

    Args:
        path: the file.
        ours: a function of the value that says whether it can be a file of the caller's kind. If it says no, there is
            no warning, since the caller refuses the file.

    Raises:
        ValueError: the file is not JSON, or its content does not agree with its checksum.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_sealed(Path(folder) / "a.json", {"steps": 3})
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
            f"{str(path)!r} has no checksum, so later changes to it cannot be detected. It was written by an older "
            "version or by hand; saving it again with this version adds a checksum",
            NoChecksumWarning,
            stacklevel=3,
        )
    elif value.pop("checksum") != content_hash(value):
        raise ValueError("its content does not agree with its checksum: it was changed or damaged after it was written")
    return value


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str] | None = None,
) -> str:
    """Write tensors, and text as *metadata*, to a safetensors file, atomically.

    Return the SHA-256 of what was written as hex; see `write_text`.

    >>> import tempfile
    >>> from safetensors.torch import load_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_tensors(Path(folder) / "a.safetensors", {"x": torch.zeros(2, 3)})
    ...     load_file(Path(folder) / "a.safetensors")["x"].shape
    torch.Size([2, 3])
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replace_atomically(path) as temporary:
        try:
            save_file(whole, str(temporary), metadata=dict(metadata) if metadata else None)
        except SafetensorError as error:  # a full disk, of which safetensors makes no OSError
            raise OSError(errno.EIO, str(error)) from error
        return sha256_file(temporary)


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes as hex.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_text(Path(folder) / "a.txt", "abc")
    ...     sha256_file(Path(folder) / "a.txt")[:8]
    'ba7816bf'
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(value: Any) -> str:
    """Return the SHA-256, as hex, of a value that JSON can hold; the order of keys does not matter.

    >>> content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate can only come from a file that was damaged; what was hashed before is hashed as before.
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def tensor_hash(tensor: torch.Tensor, dtype: torch.dtype | None = None) -> str:
    """Return the SHA-256, as hex, of a tensor's dtype, shape and bytes; with *dtype*, the tensor is converted first.

    >>> half = torch.ones(2, dtype=torch.float16)
    >>> tensor_hash(half, torch.float32) == tensor_hash(half.float())
    True
    """
    dtype = dtype or tensor.dtype
    digest = hashlib.sha256(f"{dtype}{tuple(tensor.shape)}".encode())
    for part in tensor.detach().reshape(-1).split(_HASHED_AT_ONCE):  # an embedding in another type takes a gigabyte
        digest.update(part.to(dtype).cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def fingerprint(tensor: torch.Tensor) -> str:
    """Return a 128-bit hash of a tensor's dtype, shape and numbers, about as fast as the tensor is read from memory.

    It serves to notice edits within one process. Do not write it to files: on a GPU another hash function is used,
    which runs there. PyTorch's own counter of edits, `_version`, misses edits through `tensor.data`.

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
    """Return four 32-bit hashes of the bytes *data*, computed on their device.

    Multilinear hashing: the sum of numbers times random multipliers modulo 2^64, of which the upper 32 bits are kept,
    first within blocks and then over the blocks. Two different arrays of equal length agree in one of the four hashes
    with a probability of about 2^-31.

    >>> len(hash_on_device(torch.zeros(5, dtype=torch.uint8)))
    4
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
