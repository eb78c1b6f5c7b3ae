"""The authors' prompt files: `.pt` with one matrix, read without running anything in them."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from promptscope.errors import PromptError

MAX_BYTES = 100_000_000


def read_prompt_file(path: Path) -> Float[np.ndarray, "k d"]:
    """Read `soft_prompt.pt` (`{"weight": matrix}`) or `init_soft_prompt.pt` (the bare matrix).

    Raises:
        PromptError: the file is damaged, holds anything but one finite matrix, or would need code of its own to load.
    """
    if path.stat().st_size > MAX_BYTES:
        raise PromptError(f"{path}: expected a soft prompt, got a file of {path.stat().st_size:,} bytes")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    # Damage shows in any step: zip, pickle, storage. Whatever it is, the file is named and the others are read.
    except Exception as error:
        raise PromptError(
            f"{path}: refused. It is damaged, or a pickle that would run code; only a file that "
            f"torch.load(weights_only=True) reads is opened ({type(error).__name__})"
        ) from error
    weight = loaded.get("weight") if isinstance(loaded, dict) else loaded
    if not isinstance(weight, torch.Tensor) or weight.ndim != 2 or not weight.is_floating_point():
        raise PromptError(f"{path}: expected a matrix (tokens, width) or {{'weight': matrix}}, got {_kind(loaded)}")
    matrix = weight.detach().to(torch.float32).numpy()
    if not np.isfinite(matrix).all():
        raise PromptError(f"{path}: expected finite numbers, got NaN or infinity")
    return matrix


def _kind(loaded: object) -> str:
    if isinstance(loaded, torch.Tensor):
        return f"a tensor of {loaded.dtype} and shape {tuple(loaded.shape)}"
    if isinstance(loaded, dict):
        return f"a dict with the keys {', '.join(map(repr, loaded)) or '(none)'}"
    return f"a {type(loaded).__name__}"
