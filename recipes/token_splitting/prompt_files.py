"""The authors' prompt files: `.pt` with one matrix, read without running anything in them."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from promptscope.errors import PromptError
from promptscope.prompts import read_torch

MAX_BYTES = 100_000_000
LEAST, MOST = 1e-15, 1e15


def read_prompt_file(path: Path) -> Float[np.ndarray, "k d"]:
    """Read `soft_prompt.pt` (`{"weight": matrix}`) or `init_soft_prompt.pt` (the bare matrix).

    Raises:
        PromptError: the file is damaged (a checksum of its archive fails), holds anything but one matrix of finite
            numbers without a row of zeros, or would need code of its own to load.
    """
    if path.stat().st_size > MAX_BYTES:
        raise PromptError(f"{path}: expected a soft prompt, got a file of {path.stat().st_size:,} bytes")
    loaded = read_torch(path)
    weight = loaded.get("weight") if isinstance(loaded, dict) and len(loaded) == 1 else loaded
    if not isinstance(weight, torch.Tensor) or weight.ndim != 2 or not weight.is_floating_point():
        raise PromptError(f"{path}: expected a matrix (tokens, width) or {{'weight': matrix}}, got {_kind(loaded)}")
    if weight.layout is not torch.strided or weight.device.type != "cpu" or weight.is_quantized:
        raise PromptError(f"{path}: expected plain numbers in memory, got {_kind(weight)}")
    if weight.element_size() < 2:
        raise PromptError(f"{path}: expected numbers of 16 bits or more, got {_kind(weight)}")
    matrix = weight.detach().to(torch.float32).numpy()
    if not np.isfinite(matrix).all():
        raise PromptError(f"{path}: expected finite numbers, got NaN or infinity")
    largest = float(np.abs(matrix).max(initial=0.0))
    if largest and not LEAST < largest < MOST:
        raise PromptError(
            f"{path}: expected numbers of which float32 holds the squares, got numbers up to {largest:.2g}"
        )
    empty = np.flatnonzero(~matrix.any(axis=1)).tolist()
    if matrix.size == 0 or empty:
        raise PromptError(f"{path}: expected vectors of a length above zero, got zeros as tokens {empty}")
    return matrix


def _kind(loaded: object) -> str:
    if isinstance(loaded, torch.Tensor):
        kind = "" if loaded.layout is torch.strided else f"{loaded.layout} "
        where = "" if loaded.device.type == "cpu" else f" on the device {loaded.device.type!r}"
        return f"a {kind}tensor of {loaded.dtype} and shape {tuple(loaded.shape)}{where}"
    if isinstance(loaded, dict) and len(loaded) == 1 and "weight" in loaded:
        return f"{{'weight': {_kind(loaded['weight'])}}}"
    if isinstance(loaded, dict):
        return f"a dict with the keys {', '.join(map(repr, loaded)) or '(none)'}"
    return f"a {type(loaded).__name__}"
