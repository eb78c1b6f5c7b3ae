"""Files that the oldest safetensors cannot write."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import _SIZE, save_file


def save_or_skip(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write *tensors*; skip the test where safetensors does not write numbers of their type."""
    if missing := {tensor.dtype for tensor in tensors.values()} - _SIZE.keys():
        pytest.skip(f"this safetensors writes no {missing}")
    save_file(dict(tensors), path, metadata={"format": "pt"})
