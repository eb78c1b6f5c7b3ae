"""What a probe must leave as it found it: hooks, weights, tokenizer, random numbers, global settings, inputs."""

from __future__ import annotations

import hashlib
import os
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from promptscope.files import tensor_hash
from promptscope.models import HookedModel
from promptscope.prompts import Prompt

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
State = dict[str, dict[str, Any]]
"""Part (`hooks`, `model`, ...) -> name -> value."""


def take_state(model: HookedModel, prompts: Mapping[str, Prompt]) -> State:
    """Return everything that a probe must not change, as comparable values."""
    return {
        "hooks": hooks_of(model),
        "model": _model(model),
        "tokenizer": _tokenizer(model.tokenizer) if model.has_tokenizer else {},
        "random numbers": _random_numbers(),
        "global settings": {name: get() for name, (get, _) in _SETTINGS.items()},
        "prompts": {name: prompt.content_hash() for name, prompt in prompts.items()},
    }


def changes(before: State, after: State) -> dict[str, str]:
    """Return part -> what is different, in words, of the parts that are."""
    found = {}
    for part, values in before.items():
        other = after[part]
        names = sorted({name for name in values.keys() | other.keys() if values.get(name) != other.get(name)})
        if names:
            first = names[0]
            was, now = (_short(state.get(first, "absent")) for state in (values, other))
            more = f", and {len(names) - 1} more" if len(names) > 1 else ""
            found[part] = f"{first} was {was} and is {now}{more}"
    return found


def hooks_of(model: HookedModel) -> dict[str, Any]:
    """Count the hooks of every module of the bridge and of the twin, and those that PyTorch runs on all modules."""
    found: dict[str, Any] = {}
    for tree, root in _trees(model).items():
        for name, module in root.named_modules():
            count = sum(len(getattr(module, kind)) for kind in _HOOKS)
            replaced = "forward" in vars(module)
            if count or replaced:
                found[f"{tree}.{name}"] = f"{count} hooks" + (" and a forward of its own" if replaced else "")
    found["all modules"] = len(nn.modules.module._global_forward_hooks) + len(
        nn.modules.module._global_forward_pre_hooks
    )
    return found


@contextmanager
def restored(model: HookedModel) -> Iterator[None]:
    """Undo, after a `with` block, what it changed of hooks, tokenizer, random numbers and global settings."""
    modules = {id(m): m for root in _trees(model).values() for m in root.modules()}.values()
    hooks: list[tuple[Any, Any]] = [
        (getattr(module, kind), dict(getattr(module, kind))) for module in modules for kind in _HOOKS
    ]
    kept: list[Any] = [getattr(module, "fwd_hooks", None) for module in modules]
    lists: list[tuple[Any, list[Any]]] = [(one, list(one)) for one in kept if isinstance(one, list)]
    forwards = [(module, vars(module).get("forward")) for module in modules]
    training = [(module, module.training) for module in modules]
    everywhere = [(place, dict(place)) for place in _GLOBAL_HOOKS]
    settings = {name: get() for name, (get, _) in _SETTINGS.items()}
    tokenizer = dict(vars(model.tokenizer)) if model.has_tokenizer else {}
    numbers = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        for there, was in [*hooks, *everywhere]:
            there.clear()
            there.update(was)
        for there_list, was_list in lists:
            there_list[:] = was_list
        for module, forward in forwards:
            if forward is None:
                vars(module).pop("forward", None)
            else:
                vars(module)["forward"] = forward
        for module, mode in training:
            module.training = mode
        for name, (get, put) in _SETTINGS.items():
            if get() != settings[name]:
                put(settings[name])
        if model.has_tokenizer:
            vars(model.tokenizer).update(tokenizer)
        torch.set_rng_state(numbers[0])
        np.random.set_state(numbers[1])
        random.setstate(numbers[2])


_GLOBAL_HOOKS = (nn.modules.module._global_forward_hooks, nn.modules.module._global_forward_pre_hooks)


def _trees(model: HookedModel) -> dict[str, nn.Module]:
    return {"model.bridge": model.bridge, "model.twin": model.twin}


def _model(model: HookedModel) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for tree, root in _trees(model).items():
        for name, tensor in [*root.named_parameters(), *root.named_buffers()]:
            found[f"{tree}.{name}"] = tensor_hash(tensor), tensor.requires_grad, tensor.grad is not None
        for name, module in root.named_modules():
            found[f"mode of {tree}.{name}"] = "training" if module.training else "evaluation"
    found["config"] = model.twin.config.to_json_string(use_diff=False)
    return found


def _tokenizer(tokenizer: Any) -> dict[str, Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return {
        "padding_side": tokenizer.padding_side,
        "truncation_side": tokenizer.truncation_side,
        "model_max_length": tokenizer.model_max_length,
        "special tokens": str(tokenizer.special_tokens_map),
        "vocabulary size": len(tokenizer),
        "backend": hashlib.sha256(backend.to_str().encode()).hexdigest() if backend is not None else "",
    }


def _random_numbers() -> dict[str, Any]:
    name, keys, *rest = np.random.get_state()
    return {
        "torch": hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest(),
        "numpy": (name, hashlib.sha256(np.asarray(keys).tobytes()).hexdigest(), rest),
        "random": hashlib.sha256(repr(random.getstate()).encode()).hexdigest(),
    }


def _set_environment(was: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(was)


def _set_filters(was: list[Any]) -> None:
    warnings.filters[:] = was  # type: ignore[index]


_SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "torch default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch default device": (lambda: str(torch.get_default_device()), torch.set_default_device),
    "torch gradients": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch anomaly detection": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    "torch threads": (torch.get_num_threads, torch.set_num_threads),
    "torch deterministic algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "torch matmul precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "numpy errors": (np.geterr, lambda was: np.seterr(**was)),
    "numpy printing": (np.get_printoptions, lambda was: np.set_printoptions(**was)),
    "environment": (lambda: dict(os.environ), _set_environment),
    "working directory": (os.getcwd, os.chdir),
    "warning filters": (lambda: list(warnings.filters), _set_filters),
}
"""What a process shares: how to read it, and how to set it back."""


def _short(value: Any) -> str:
    text = str(value[0] if isinstance(value, tuple) else value)
    return text if len(text) <= 40 else text[:37] + "..."
