"""Comparison of the weights in a checkpoint with those of the model class: only another head may differ."""

import re
import warnings
from collections.abc import Iterable

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


def _more_of_the_same(extra: Iterable[str], model: nn.Module) -> list[str]:
    """Return the extra weights that belong to another layer of a kind the model has, or to a module that it has."""
    kinds = {re.sub(r"\d+", "#", key) for key in model.state_dict()}
    # Buffers of older versions (masks, positions) lie in modules that have no weights of their own.
    full = {name for name, module in model.named_modules() if module._parameters}
    return [key for key in extra if re.sub(r"\d+", "#", key) in kinds or key.rpartition(".")[0] in full]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
