"""Reading tensors from files that may be damaged or unsafe."""

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
    """Read a safetensors file of finite numbers.

    Raises:
        PromptError: the file is missing or damaged, or holds NaN or infinity.
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
        # Of 8-bit floats PyTorch cannot say whether they are finite.
        if not torch.isfinite(tensor.float() if tensor.is_floating_point() else tensor).all():
            raise PromptError(f"{name} in {str(path)!r} holds NaN or infinite numbers: load or train the prompt again")
    return tensors


def write_sealed_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file with a checksum in its metadata, which `read_tensors` compares."""
    write_tensors(path, tensors, {**metadata, _CHECKSUM: _checksum(tensors)})


def _checksum(tensors: dict[str, torch.Tensor]) -> str:
    return content_hash({name: tensor_hash(tensor) for name, tensor in tensors.items()})


_BOMB_BYTES, _BOMB_RATIO = 100_000_000, 100


def check_archive(path: Path) -> None:
    """Check that a zip archive (`.npz`, or a file of `torch.save`) is undamaged and of a plausible unpacked size.

    Raises:
        BadZipFile: a checksum does not agree, a name occurs twice, or the unpacked size is far above the file's.
    """
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > max(_BOMB_BYTES, _BOMB_RATIO * path.stat().st_size):
            raise zipfile.BadZipFile(f"its {path.stat().st_size:,} bytes would become {size:,} bytes when unpacked")
        names = archive.namelist()
        if len(set(names)) < len(names):
            raise zipfile.BadZipFile("two of its members have the same name")
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"the checksum of {damaged} does not agree: the file is damaged")


@checked()
def read_torch(path: Path) -> Any:
    """Read a file of `torch.save` without running code from it (`weights_only`), after verifying its checksums.

    Raises:
        PromptError: the file is damaged, or a pickle that would run code.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save({"vectors": torch.ones(2, 3)}, Path(folder) / "prompt.pt")
    ...     read_torch(Path(folder) / "prompt.pt")["vectors"].shape
    torch.Size([2, 3])
    """
    try:
        # torch.load believes what it reads: a byte that was flipped shows in the archive's checksums only.
        check_archive(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    # Damage shows in any step: zip, pickle, storage. Whatever it is, the file is named.
    except Exception as error:
        raise PromptError(
            f"{path}: refused. It is damaged, or a pickle that would run code: expected an undamaged file that "
            f"torch.load(weights_only=True) reads ({type(error).__name__}: {str(error)[:120]})"
        ) from error
