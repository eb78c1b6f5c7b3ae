"""Embeddings of a prompt from a `.pt`, `.npy` or `.safetensors` file."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from promptscope.errors import PromptError
from promptscope.prompts.soft import SoftPrompt
from promptscope.prompts.tensors import check_archive, read_tensors

_SUFFIXES = (".pt", ".pth", ".bin", ".npy", ".safetensors")


def read_vectors(path: Path) -> SoftPrompt:
    """Read the embeddings `(k, d_model)` of an input-level prompt; a leading dimension of size 1 is removed.

    Raises:
        PromptError: the file has another ending, would run code when read, or does not hold exactly one matrix.
    """
    tensors = _tensors(path)
    fitting = {name: x for name, x in tensors.items() if x.is_floating_point() and _as_rows(x).ndim == 2}
    if len(fitting) != 1 or len(tensors) != 1:
        found = ", ".join(
            f"{name or 'one tensor'} {str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}"
            for name, x in tensors.items()
        )
        raise PromptError(
            f"{str(path)!r} must hold one matrix of numbers (k, d_model), the prompt's embeddings, got "
            f"{found or 'no tensor'}. Save that matrix alone; a deep prompt is read from a folder of PEFT or "
            "prompt.save"
        )
    ((name, rows),) = fitting.items()
    rows = _as_rows(rows).detach().float()
    if not len(rows) or not bool(torch.isfinite(rows).all()):
        raise PromptError(
            f"{str(path)!r} must hold at least one row of finite numbers, got none, or NaN or infinite ones"
        )
    prompt = SoftPrompt(length=len(rows))
    prompt.embedding = nn.Parameter(rows.clone())
    prompt.provenance = {"file": {"name": path.name, "tensor": name}}
    return prompt


def _tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix not in _SUFFIXES:
        raise PromptError(
            f"{str(path)!r} is not a prompt: expected a folder, or a file that ends in {', '.join(_SUFFIXES)}"
        )
    if path.suffix == ".safetensors":
        return read_tensors(path)
    try:
        if path.suffix == ".npy":
            return {"": torch.from_numpy(np.load(path, allow_pickle=False))}
        if zipfile.is_zipfile(path):  # files of PyTorch before 1.6 are none, and have no checksum
            check_archive(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damage shows in any step: zip, pickle, storage
        raise PromptError(
            f"{str(path)!r} cannot be read as plain tensors ({type(error).__name__}: {str(error)[:120]}). Pickled "
            "objects are not opened, as they could run any code: if you trust the file, save its tensor alone"
        ) from error
    if isinstance(content, Tensor):
        content = {"": content}
    if isinstance(content, dict) and all(isinstance(x, Tensor) for x in content.values()):
        if kind := next((kind for x in content.values() if (kind := _special(x)) is not None), None):
            raise PromptError(f"{str(path)!r} holds a {kind} tensor: save it as a plain one, such as x.to_dense()")
        return {str(name): x for name, x in content.items()}
    raise PromptError(
        f"{str(path)!r} must hold a tensor or a dict of tensors, got a {type(content).__name__}: save the tensor alone"
    )


def _special(x: Tensor) -> str | None:
    """Return the kind of a tensor that is not plain numbers in memory, or None."""
    if x.is_nested or x.is_meta or x.is_quantized:
        return "nested" if x.is_nested else "meta" if x.is_meta else "quantised"
    return None if x.layout == torch.strided else str(x.layout).removeprefix("torch.")


def _as_rows(x: Tensor) -> Tensor:
    return x[0] if x.ndim == 3 and len(x) == 1 else x
