"""What may be missing in a checkpoint, or be there besides: another head, and nothing else."""

import re
import warnings
from collections.abc import Iterable

from torch import nn

from promptscope.errors import CheckpointWarning, ModelError


def check_weights(missing: Iterable[str], extra: Iterable[str], model: nn.Module, named: str, name: str) -> None:
    """Compare the weights of a checkpoint with those of the class that it was loaded into.

    *named*: the class that its config names. Weights of another head (a classifier, a pooler) are left out with a
    CheckpointWarning.

    Raises:
        ModelError: weights are missing, which transformers would start at random, or there are more of a kind that the
            model has: it would be another model.
    """
    missing, extra = sorted(missing), sorted(extra)
    architecture = type(model).__name__
    if missing:
        other = "" if named == architecture else f", as whose language model a {named} was loaded"
        raise ModelError(
            f"the weights of {name!r} lack {len(missing)} of a {architecture}{other}: {_some(missing)}. The checkpoint "
            "is damaged, or was saved without its language-model head: load one with that head"
        )
    more = _more_of_the_same(extra, model)
    if more:
        raise ModelError(
            f"config.json of {name!r} leaves out {len(more)} weights that the checkpoint holds: {_some(more)}. It "
            "names fewer layers, or other options, than the model had. Restore the config.json that was saved with them"
        )
    if named != architecture:
        left = f", without {len(extra)} weights of its other head ({_some(extra)})" if extra else ""
        warnings.warn(
            f"{name!r} was saved as {named} and is loaded as {architecture}, all of whose weights it holds{left}",
            CheckpointWarning,
            stacklevel=2,
        )


def _more_of_the_same(extra: Iterable[str], model: nn.Module) -> list[str]:
    """Return weights that are one more of a kind that the model has: of another layer, or of a module that is there."""
    kinds = {re.sub(r"\d+", "#", key) for key in model.state_dict()}
    # Buffers of older versions (masks, positions) lie in modules that have no weights of their own.
    full = {name for name, module in model.named_modules() if module._parameters}
    return [key for key in extra if re.sub(r"\d+", "#", key) in kinds or key.rpartition(".")[0] in full]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
