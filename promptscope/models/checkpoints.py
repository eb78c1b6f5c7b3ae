"""Comparison of the weights in a checkpoint with those of the model class: only another head may differ."""

import re
import warnings
from collections.abc import Iterable
from pathlib import Path

from safetensors import safe_open
from torch import nn

from promptscope.errors import CheckpointWarning, ModelError


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


def check_types(where: str, model: nn.Module, name: str) -> None:
    """Raise ModelError if weights in the folder *where* are integers, truth values or complex numbers.

    transformers would convert them: the bits of bfloat16 numbers, which some programs store as integers, to their
    numbers as integers.
    """
    parameters = [f".{parameter}" for parameter, _ in model.named_parameters()]
    for path in sorted(Path(where).glob("model*.safetensors")):
        with safe_open(str(path), framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - not a dict
                kind = file.get_slice(key).get_dtype()
                # Some checkpoints have masks and positions too, and names without the first part.
                if not kind.startswith(("F", "BF")) and any(one.endswith(f".{key}") for one in parameters):
                    raise ModelError(
                        f"the weight {key} in {str(path)!r} has the type {kind}, but weights of {name!r} must be "
                        "floating-point numbers: save the model again in float32, bfloat16 or float16"
                    )


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
