"""Comparison of the weights in a checkpoint with those of the model class: only another head may differ."""

import json
import re
import threading
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.utils import cached_file

from promptscope.errors import CheckpointWarning, ModelError

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_MOST = 10**6
_COUNTS = ("layer", "label", "attention_types")
"""Parts of the names of entries by which transformers makes lists before there is a model."""


def check_weights(missing: Iterable[str], extra: Iterable[str], model: nn.Module, named: str, name: str) -> None:
    """Compare the weights of a checkpoint with those of the class that it was loaded into.

    *missing* and *extra* are names of weights that only the model or only the checkpoint has, *named* is the class that
    the checkpoint's config names, *name* is the model's name in messages. Extra weights of another head (a classifier,
    a pooler) are left out with a CheckpointWarning.

    Raises:
        ModelError: weights of the model are missing (transformers would initialise them at random), or the checkpoint
            has further weights of a kind that the model has, such as those of more layers.
    """
    missing, extra = sorted(missing), sorted(extra)
    architecture = type(model).__name__
    if missing:
        other = "" if named == architecture else f", the language-model class for a {named}"
        raise ModelError(
            f"the weights of {name!r} lack {len(missing)} of a {architecture}{other}: {_some(missing)}. The checkpoint "
            "is damaged, or was saved without its language-model head: load one with that head"
        )
    more = _more_of_the_same(extra, model)
    if more:
        raise ModelError(
            f"the checkpoint of {name!r} holds {len(more)} weights that the model in its config.json does not have: "
            f"{_some(more)}. The config.json names fewer layers or other options than the saved model had: restore the "
            "one that was saved with the weights"
        )
    if named != architecture:
        left = f", without {len(extra)} weights of its other head ({_some(extra)})" if extra else ""
        warnings.warn(
            f"{name!r} was saved as a {named} and is loaded as a {architecture}; the checkpoint holds all weights of "
            f"this class{left}",
            CheckpointWarning,
            stacklevel=2,
        )


def check_counts(entries: Any, name: str, key: str = "") -> None:
    """Raise ModelError if *entries*, those of a config.json, count more layers or labels than any model has.

    transformers makes a list of each while it reads the file, which would take all memory.
    """
    if isinstance(entries, dict | list):
        for inner, value in entries.items() if isinstance(entries, dict) else ((key, value) for value in entries):
            check_counts(value, name, str(inner))
    elif isinstance(entries, int) and abs(entries) > _MOST and any(part in key for part in _COUNTS):
        raise ModelError(
            f"config.json of {name!r} has {key}={entries}, expected at most {_MOST:,}: restore the one that was saved "
            "with the weights"
        )


def check_total(architecture: type[PreTrainedModel], config: PreTrainedConfig, files: list[Path], name: str) -> None:
    """Raise ModelError if the model of *config* has more numbers than the weights in *files* have bytes.

    The model is made without memory for its numbers, and no further than a few times what the files can hold.
    """
    bytes_, total, mine = sum(path.stat().st_size for path in files), 0, threading.get_ident()
    try:
        for path in files:
            next(_types([path]), None)
    except (OSError, SafetensorError):
        return  # a damaged file, which loading names
    if not files:
        return  # loading says so

    def error(largest: str) -> ModelError:
        return ModelError(
            f"config.json of {name!r} describes a {architecture.__name__} with more numbers than its weights can hold "
            f"({', '.join(path.name for path in files[:3])}: {bytes_:,} bytes){largest}: it names more layers or other "
            "sizes than the saved model had, or the weights are cut off. Restore the files that were saved together"
        )

    def count(module: nn.Module, key: str, parameter: nn.Parameter | None) -> None:
        nonlocal total
        if threading.get_ident() == mine and parameter is not None:
            total += parameter.numel()
            # An embedding that is stored once in two bytes may be made four times before it is shared.
            if total > 4 * bytes_:
                raise error(f", such as a {type(module).__name__}.{key} of {tuple(parameter.shape)}")

    handle = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"), no_init_weights():
            model = architecture(config)
        model.tie_weights()
    except ModelError:
        raise
    except Exception as problem:
        if "overflow" in str(problem):
            raise error("") from problem
        return  # loading it will say so
    finally:
        handle.remove()
    if sum(parameter.numel() for parameter in model.parameters()) > bytes_:
        raise error("")


def weight_files(where: str, revision: str | None) -> list[Path]:
    """Return the files with the weights of a folder or Hub name that transformers reads, or none if there are none."""

    def found(file: str) -> str | None:
        path: str | None = cached_file(where, file, revision=revision, _raise_exceptions_for_missing_entries=False)
        return path

    try:
        for file in _WEIGHTS:
            if path := found(file):
                return [Path(path)]
            if index := found(f"{file}.index.json"):
                names = set(json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"].values())
                return [Path(path) for name in sorted(names) if (path := found(name))]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        pass  # a damaged index, or no connection: loading says so
    return []


def check_types(files: list[Path], model: nn.Module, name: str) -> None:
    """Raise ModelError if weights in the safetensors *files* are integers, truth values or complex numbers.

    transformers would convert them: the bits of bfloat16 numbers, which some programs store as integers, to their
    numbers as integers.
    """
    parameters = [f".{parameter}" for parameter, _ in model.named_parameters()]
    for path, key, kind in _types(files):
        # Some checkpoints have masks and positions too, and names without the first part.
        if not kind.startswith(("F", "BF")) and any(one.endswith(f".{key}") for one in parameters):
            raise ModelError(
                f"the weight {key} in {str(path)!r} has the type {kind}, but weights of {name!r} must be "
                "floating-point numbers: save the model again in float32, bfloat16 or float16"
            )


def _types(files: list[Path]) -> Iterator[tuple[Path, str, str]]:
    for path in files:
        if path.suffix == ".safetensors":
            with safe_open(str(path), framework="pt") as file:
                for key in file.keys():  # noqa: SIM118 - not a dict
                    yield path, key, file.get_slice(key).get_dtype()


def check_sizes(mismatched: Iterable[tuple[str, Iterable[int], Iterable[int]]], architecture: str, name: str) -> None:
    """Raise ModelError if weights of the checkpoint have other shapes than those of the model: (name, there, here)."""
    found = sorted(mismatched)
    if found:
        key, there, here = found[0]
        raise ModelError(
            f"{len(found)} weights of {name!r} have other sizes than a {architecture} of its config.json: {key} is "
            f"{tuple(there)}, and would be {tuple(here)}. Restore the config.json that was saved with the weights"
        )


def _more_of_the_same(extra: Iterable[str], model: nn.Module) -> list[str]:
    """Return the extra weights that belong to another layer of a kind the model has, or to a module that it has."""
    kinds = {re.sub(r"\d+", "#", key) for key in model.state_dict()}
    # Buffers of older versions (masks, positions) lie in modules that have no weights of their own.
    full = {name for name, module in model.named_modules() if module._parameters}
    return [key for key in extra if re.sub(r"\d+", "#", key) in kinds or key.rpartition(".")[0] in full]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
