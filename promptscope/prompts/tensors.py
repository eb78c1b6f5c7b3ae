"""Tensors from files that somebody else may have written."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from promptscope.errors import PromptError


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file of finite numbers; nothing is ever unpickled.

    Raises:
        PromptError: the file is missing, damaged, or holds NaN or infinity.
    """
    try:
        tensors = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise PromptError(f"{str(path)!r} cannot be read as safetensors ({error}): it is missing or damaged") from error
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise PromptError(f"{name} in {str(path)!r} holds NaN or infinite numbers")
    return tensors
