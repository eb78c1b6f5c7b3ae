"""The authors' prompt files: `.pt` with one matrix, read without running anything in them."""

import zipfile
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from promptscope.errors import PromptError

MAX_BYTES = 100_000_000


def read_prompt_file(path: Path) -> Float[np.ndarray, "k d"]:
    """Read `soft_prompt.pt` (`{"weight": matrix}`) or `init_soft_prompt.pt` (the bare matrix).

    Raises:
        PromptError: the file is damaged (a checksum of its archive fails), holds anything but one matrix of finite
            numbers without a row of zeros, or would need code of its own to load.
    """
    if path.stat().st_size > MAX_BYTES:
        raise PromptError(f"{path}: expected a soft prompt, got a file of {path.stat().st_size:,} bytes")
    try:
        # torch.load believes what it reads: a byte that was flipped shows in the archive's checksums only.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"the checksum of {damaged} is another")
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    # Damage shows in any step: zip, pickle, storage. Whatever it is, the file is named and the others are read.
    except Exception as error:
        raise PromptError(
            f"{path}: refused. It is damaged, or a pickle that would run code; only a whole archive that "
            f"torch.load(weights_only=True) reads is opened ({type(error).__name__}: {str(error)[:120]})"
        ) from error
    weight = loaded.get("weight") if isinstance(loaded, dict) else loaded
    if not isinstance(weight, torch.Tensor) or weight.ndim != 2 or not weight.is_floating_point():
        raise PromptError(f"{path}: expected a matrix (tokens, width) or {{'weight': matrix}}, got {_kind(loaded)}")
    if weight.layout is not torch.strided or weight.device.type != "cpu" or weight.is_quantized:
        raise PromptError(f"{path}: expected plain numbers in memory, got {_kind(weight)}")
    matrix = weight.detach().to(torch.float32).numpy()
    if not np.isfinite(matrix).all():
        raise PromptError(f"{path}: expected finite numbers, got NaN or infinity")
    empty = np.flatnonzero(~matrix.any(axis=1)).tolist()
    if matrix.size == 0 or empty:
        raise PromptError(f"{path}: expected vectors of a length above zero, got zeros as tokens {empty}")
    return matrix


def _kind(loaded: object) -> str:
    if isinstance(loaded, torch.Tensor):
        kind = "" if loaded.layout is torch.strided else f"{loaded.layout} "
        where = "" if loaded.device.type == "cpu" else f" on the device {loaded.device.type!r}"
        return f"a {kind}tensor of {loaded.dtype} and shape {tuple(loaded.shape)}{where}"
    if isinstance(loaded, dict):
        return f"a dict with the keys {', '.join(map(repr, loaded)) or '(none)'}"
    return f"a {type(loaded).__name__}"
