"""A prompt as an array of vectors, whatever it was given as."""

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
    """One vector for each position of a prompt, in float32.

    - `name`: the prompt's name;
    - `x` (k, d): the embeddings of an input-level prompt; for a deep prompt the keys and values of all its layers,
      concatenated for each position;
    - `prompt`: a prompt that can be run: the one that was given, or an input-level prompt with these embeddings.

    >>> import promptscope as ps
    >>> x = np.zeros((4, 160), dtype=np.float32)
    >>> PromptVectors("mine", x, prompt=ps.SoftPrompt(length=4)).x.shape
    (4, 160)
    """

    name: str
    x: Float[np.ndarray, "k d"]
    prompt: Prompt


def vectors_of(prompts: Mapping[str, Any]) -> list[PromptVectors]:
    """Return the vectors of each entry of *prompts*, whatever it was given as.

    An entry is a prompt, an array (k, d), a single vector (d,), or a stack (n, k, d), which is n prompts.

    Raises:
        PromptError: another kind of object, numbers that are not finite, or a vector of zeros, which has no direction.
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
            kind = (
                "on the meta device, which holds no numbers: load it to a real device first"
                if value.is_meta
                else "in a sparse layout: give tensor.to_dense()"
            )
            raise PromptError(f"{name!r} is a tensor {kind}")
        raise PromptError(
            f"{name!r} must be a prompt, or floats of shape (tokens, width), got {what}. To compare "
            "token ids, give their embeddings"
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
        raise PromptError(
            f"prompt {name!r} is unbound and has no vectors yet: bind it to a model, load or train it first"
        )
    if isinstance(prompt, SoftPrompt):
        return prompt.vectors().detach().float().cpu().numpy()
    if not isinstance(prompt, DeepPrompt):
        raise PromptError(
            f"prompt {name!r} is a {type(prompt).__name__}, and only a ps.SoftPrompt or ps.DeepPrompt can be compared"
        )
    parts = [tensor.detach().float().cpu() for _, tensor in sorted(prompt.tensors().items())]  # (layer, k, d) each
    return torch.cat([part.transpose(0, 1).flatten(1) for part in parts], dim=1).numpy()


def _check_range(name: str, array: np.ndarray) -> None:
    """Refuse numbers whose squares float32 cannot hold: their norms would be infinite, or zero."""
    largest = float(np.max(np.abs(array), initial=0.0, where=np.isfinite(array)))
    if largest and not _LEAST < largest < _MOST:
        raise PromptError(
            f"the largest number of {name!r} is {largest:.2g}, and must be between {_LEAST:.0e} and "
            f"{_MOST:.0e} for norms in float32: is it a prompt? If so, rescale it"
        )


def _check(name: str, x: Float[np.ndarray, "k d"]) -> None:
    if not np.isfinite(x).all():
        raise PromptError(f"{name!r} must hold finite numbers, and has NaN or infinity: was its training stable?")
    zeros = np.flatnonzero(~x.any(axis=1)).tolist()
    if zeros:
        raise PromptError(
            f"{name!r} has vectors of zeros, at positions {zeros}: they have no "
            "direction, so cosines are undefined. Leave them out"
        )
