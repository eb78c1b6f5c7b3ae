"""Checks which models are available before anything is trained."""

from collections.abc import Sequence

from transformers import AutoConfig

from promptscope.errors import ModelError
from promptscope.models import EMBEDDED_MODELS


def check_models(names: Sequence[str]) -> None:
    """Read the configuration of every model that is not in the package; no weights.

    Raises:
        ModelError: with all names that are neither a folder nor on the Hub.

    >>> check_models(["embedded-causal"])
    """
    missing = {}
    for name in dict.fromkeys(names):
        if name not in EMBEDDED_MODELS:
            try:
                AutoConfig.from_pretrained(name)
            except (OSError, ValueError) as error:
                missing[name] = str(error).splitlines()[0]
    if missing:
        reasons = " ".join(f"{name}: {reason}" for name, reason in missing.items())
        raise ModelError(f"{len(missing)} of the models cannot be loaded, so nothing was trained. {reasons}")
