"""Tensors from files that somebody else may have written."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from promptscope.checks import checked
from promptscope.errors import PromptError
from promptscope.files import content_hash, tensor_hash, write_tensors

_CHECKSUM = "promptscope_checksum"


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file of finite numbers; nothing is ever unpickled.

    Raises:
        PromptError: the file is missing, damaged, or holds NaN or infinity.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise PromptError(f"{str(path)!r} cannot be read as safetensors ({error}): it is missing or damaged") from error
    if _CHECKSUM in metadata and metadata[_CHECKSUM] != _checksum(tensors):
        raise PromptError(f"{str(path)!r} is damaged: its numbers are not those of its checksum")
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise PromptError(f"{name} in {str(path)!r} holds NaN or infinite numbers")
    return tensors


def write_sealed_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file with a checksum in its metadata, which `read_tensors` compares."""
    write_tensors(path, tensors, {**metadata, _CHECKSUM: _checksum(tensors)})


def _checksum(tensors: dict[str, torch.Tensor]) -> str:
    return content_hash({name: tensor_hash(tensor) for name, tensor in tensors.items()})


def check_archive(path: Path) -> None:
    """Compare what is in a zip archive, which `.pt` and `.npz` files are, with its checksums: readers of these do not.

    Raises:
        BadZipFile: it is damaged, or no archive.
    """
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"the checksum of {damaged} is another")


@checked()
def read_torch(path: Path) -> Any:
    """Read what `torch.save` wrote, running nothing that is in the file, and only if its checksums are right.

    Raises:
        PromptError: the file is damaged, or a pickle that would run code.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save({"vectors": torch.ones(2, 3)}, Path(folder) / "prompt.pt")
    ...     read_torch(Path(folder) / "prompt.pt")["vectors"].shape
    torch.Size([2, 3])
    """
    try:
        check_archive(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    # Damage shows in any step: zip, pickle, storage. Whatever it is, the file is named.
    except Exception as error:
        raise PromptError(
            f"{path}: refused. It is damaged, or a pickle that would run code; only a whole archive that "
            f"torch.load(weights_only=True) reads is opened ({type(error).__name__}: {str(error)[:120]})"
        ) from error
