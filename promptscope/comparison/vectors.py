"""A prompt as its vectors, whatever it came as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from promptscope.arrays import as_floats
from promptscope.errors import PromptError
from promptscope.prompts import DeepPrompt, Prompt, SoftPrompt

_LEAST, _MOST = 1e-15, 1e15


@dataclass(frozen=True, eq=False)
class PromptVectors:
    """One vector for each of a prompt's positions, in fp32.

    - `x`: (k, d). Of an input-level prompt, its embeddings; of a deep prompt, the keys and values of all its layers,
      put one after the other.
    - `prompt`: what can be run: the prompt that was given, or an input-level prompt with these embeddings.

    >>> import promptscope as ps
    >>> x = np.zeros((4, 160), dtype=np.float32)
    >>> PromptVectors("mine", x, prompt=ps.SoftPrompt(length=4)).x.shape
    (4, 160)
    """

    name: str
    x: Float[np.ndarray, "k d"]
    prompt: Prompt


def vectors_of(prompts: Mapping[str, Any]) -> list[PromptVectors]:
    """Return the vectors of prompts, arrays (k, d), one vector (d), or stacks (n, k, d), which are n prompts.

    Raises:
        PromptError: something else, numbers that are not finite, or a vector of zeros, which has no direction.
    """
    return [one for name, value in prompts.items() for one in _read(str(name), value)]


def _read(name: str, value: Any) -> list[PromptVectors]:
    if isinstance(value, Prompt):
        x = _numbers_of(name, value)
        _check_range(name, x)
        _check(name, x)
        return [PromptVectors(name, x, value)]
    array = as_floats(value)
    if array is None or not 1 <= array.ndim <= 3 or array.size == 0:
        what = f"{value.dtype} of shape {tuple(value.shape)}" if hasattr(value, "shape") else type(value).__name__
        if isinstance(value, torch.Tensor) and (value.is_meta or value.layout != torch.strided):
            kind = "on the meta device, which holds no numbers" if value.is_meta else "sparse: give its to_dense()"
            raise PromptError(f"{name!r} is a tensor {kind}")
        raise PromptError(
            f"{name!r} must be a prompt, or floating-point numbers (tokens, width), got {what}. Token ids are no "
            "prompt: look their embeddings up first"
        )
    _check_range(name, array)
    stack = np.array(array, dtype=np.float32).reshape((-1, *array.shape[-2:]) if array.ndim == 3 else (1, *array.shape))
    if array.ndim == 1:
        stack = stack[:, None]
    names = [name] if len(stack) == 1 else [f"{name}[{i}]" for i in range(len(stack))]
    found = []
    for one, x in zip(names, stack, strict=True):
        _check(one, x)
        prompt = SoftPrompt(length=len(x))
        prompt.embedding = torch.nn.Parameter(torch.tensor(x))
        found.append(PromptVectors(one, x, prompt))
    return found


def _numbers_of(name: str, prompt: Prompt) -> Float[np.ndarray, "k d"]:
    if not prompt.is_bound:
        raise PromptError(f"prompt {name!r} has no numbers yet: bind it to a model, load or train it first")
    if isinstance(prompt, SoftPrompt):
        return prompt.vectors().detach().float().cpu().numpy()
    if not isinstance(prompt, DeepPrompt):
        raise PromptError(f"prompt {name!r} is a {type(prompt).__name__}: only soft and deep prompts can be compared")
    parts = [tensor.detach().float().cpu() for _, tensor in sorted(prompt.tensors().items())]  # (layer, k, d) each
    return torch.cat([part.transpose(0, 1).flatten(1) for part in parts], dim=1).numpy()


def _check_range(name: str, array: np.ndarray) -> None:
    """Refuse numbers whose squares fp32 cannot hold: their norms would be infinite, or zero."""
    largest = float(np.max(np.abs(array), initial=0.0, where=np.isfinite(array)))
    if largest and not _LEAST < largest < _MOST:
        raise PromptError(
            f"{name!r} has numbers up to {largest:.2g}, and norms in float32 take {_LEAST:.0e} to {_MOST:.0e}: rescale "
            "them, if they are a prompt at all"
        )


def _check(name: str, x: Float[np.ndarray, "k d"]) -> None:
    if not np.isfinite(x).all():
        raise PromptError(f"{name!r} holds NaN or infinite numbers")
    zeros = np.flatnonzero(~x.any(axis=1)).tolist()
    if zeros:
        raise PromptError(f"{name!r} has vectors of zeros, at positions {zeros}: they have no direction")
