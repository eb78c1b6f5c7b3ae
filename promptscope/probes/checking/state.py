"""What a probe must leave unchanged: hooks, weights, tokenizer, random numbers, global settings, inputs."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from promptscope.files import tensor_hash
from promptscope.models import HookedModel
from promptscope.probes.checking.settings import SETTINGS
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
        "global settings": {name: get() for name, (get, _) in SETTINGS.items()},
        "prompts": {name: _prompt(prompt) for name, prompt in prompts.items()},
    }


def changes(before: State, after: State) -> dict[str, str]:
    """Return part -> what changed, in words, for the parts that did."""
    found = {}
    for part, values in before.items():
        other = after[part]
        names = sorted({name for name in values.keys() | other.keys() if values.get(name) != other.get(name)})
        if names:
            first, was, now = _first_difference(names[0], values.get(names[0], "absent"), other.get(names[0], "absent"))
            more = f", and {len(names) - 1} more" if len(names) > 1 else ""
            found[part] = f"{first} was {was} and is {now}{more}"
    return found


def hooks_of(model: HookedModel) -> dict[str, Any]:
    """Count the hooks of every module and weight of the bridge and of its plain copy, and those on all modules."""
    found: dict[str, Any] = {}
    for tree, root in _trees(model).items():
        for name, weight in root.named_parameters():
            if count := len(weight._backward_hooks or {}):
                found[f"{tree}.{name}"] = f"{count} hooks"
        for name, module in root.named_modules():
            count = sum(len(getattr(module, kind)) for kind in _HOOKS)
            replaced = "forward" in vars(module)
            if count or replaced:
                found[f"{tree}.{name}"] = f"{count} hooks" + (" and a forward of its own" if replaced else "")
    found["all modules"] = f"{sum(map(len, _GLOBAL_HOOKS))} hooks"
    return found


@contextmanager
def restored(model: HookedModel) -> Iterator[None]:
    """After a `with` block, undo its changes of hooks, tokenizer, random numbers and global settings."""
    modules = list({id(m): m for root in _trees(model).values() for m in root.modules()}.values())
    weights = [weight for module in modules for weight in module.parameters(recurse=False)]
    children = [(module, dict(module._modules)) for module in modules]
    classes: dict[Any, Any] = {type(module): type(module).forward for module in modules}
    hooks: list[tuple[Any, Any]] = [
        (getattr(module, kind), dict(getattr(module, kind))) for module in modules for kind in _HOOKS
    ]
    kept: list[Any] = [getattr(module, "fwd_hooks", None) for module in modules]
    lists: list[tuple[Any, list[Any]]] = [(one, list(one)) for one in kept if isinstance(one, list)]
    forwards = [(module, vars(module).get("forward")) for module in modules]
    training = [(module, module.training) for module in modules]
    everywhere = [(place, dict(place)) for place in _GLOBAL_HOOKS]
    gradients = [(weight, dict(weight._backward_hooks or {})) for weight in weights]
    settings = {name: get() for name, (get, _) in SETTINGS.items()}
    tokenizer = dict(vars(model.tokenizer)) if model.has_tokenizer else {}
    numbers = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        for module, were in children:
            module._modules = were
        for kind, function in classes.items():
            if kind.forward is not function:
                kind.forward = function
        for there, was in [*hooks, *everywhere]:
            there.clear()
            there.update(was)
        for weight, were_there in gradients:
            if weight._backward_hooks:
                weight._backward_hooks.clear()
                weight._backward_hooks.update(were_there)
        for there_list, was_list in lists:
            there_list[:] = was_list
        for module, forward in forwards:
            if forward is None:
                vars(module).pop("forward", None)
            else:
                vars(module)["forward"] = forward
        for module, mode in training:
            module.training = mode
        for name, (get, put) in SETTINGS.items():
            if get() != settings[name]:
                put(settings[name])
        if model.has_tokenizer:
            vars(model.tokenizer).update(tokenizer)
        torch.set_rng_state(numbers[0])
        np.random.set_state(numbers[1])
        random.setstate(numbers[2])


_GLOBAL_HOOKS = [getattr(nn.modules.module, f"_global{kind}") for kind in _HOOKS]


def _trees(model: HookedModel) -> dict[str, nn.Module]:
    return {"model.bridge": model.bridge, "model.twin": model.twin}


def _model(model: HookedModel) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for tree, root in _trees(model).items():
        for name, tensor in [*root.named_parameters(), *root.named_buffers()]:
            found[f"{tree}.{name}"] = {
                "numbers": "elsewhere" if tensor.is_meta else tensor_hash(tensor),
                "requires_grad": tensor.requires_grad,
                "grad": "absent" if tensor.grad is None else "there",
            }
        for name, module in root.named_modules():
            found[f"mode of {tree}.{name}"] = "training" if module.training else "evaluation"
            found[f"module {tree}.{name}"] = type(module).__name__, id(module)
            found[f"forward of the class {type(module).__qualname__}"] = type(module).forward
    found["config"] = model.twin.config.to_dict()
    if (generation := getattr(model.twin, "generation_config", None)) is not None:  # masked models write nothing
        found["generation config"] = generation.to_dict()
    return found


def _tokenizer(tokenizer: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: value for name, value in vars(tokenizer).items() if isinstance(value, bool | int | str | None)
    }
    found |= {
        "padding_side": tokenizer.padding_side,
        "special tokens": dict(tokenizer.special_tokens_map),
        "vocabulary size": len(tokenizer),
    }
    if (backend := getattr(tokenizer, "backend_tokenizer", None)) is not None:
        # Every call of a fast tokenizer sets these two anew.
        rest = {part: x for part, x in json.loads(backend.to_str()).items() if part not in ("padding", "truncation")}
        found["backend"] = hashlib.sha256(json.dumps(rest).encode()).hexdigest()
    return found


def _prompt(prompt: Prompt) -> dict[str, Any]:
    return {
        "numbers": prompt.content_hash(),
        "training": prompt.training,
        "requires_grad": [parameter.requires_grad for parameter in prompt.parameters()],
    }


def _random_numbers() -> dict[str, Any]:
    name, keys, *rest = np.random.get_state()
    return {
        "torch": hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest(),
        "numpy": (hashlib.sha256(np.asarray(keys).tobytes()).hexdigest(), name, rest),
        "random": hashlib.sha256(repr(random.getstate()).encode()).hexdigest(),
    }


def _first_difference(name: str, was: Any, now: Any) -> tuple[str, str, str]:
    """Name what differs (inside dicts, by keys), with both values."""
    if isinstance(was, dict) and isinstance(now, dict):
        keys = sorted({key for key in was.keys() | now.keys() if was.get(key) != now.get(key)}, key=str)
        if keys:
            return _first_difference(f"{name} {keys[0]}", was.get(keys[0], "absent"), now.get(keys[0], "absent"))
    return name, _short(was), _short(now)


def _short(value: Any) -> str:
    text = str(value[0] if isinstance(value, tuple) and value else value)
    return text if len(text) <= 40 else text[:37] + "..."
