"""Which class of transformers a checkpoint is loaded into, and which classes there is a bridge for."""

from collections.abc import Iterator

import transformers
from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

from promptscope.errors import ModelError, nearest
from promptscope.models.adapters import ADAPTERS

_HEADS = (
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
)


_BRIDGES = {*SUPPORTED_ARCHITECTURES, *ADAPTERS}


def supported_architectures() -> list[str]:
    """Return the classes of transformers that `load_model` tries: language models that there is a bridge for.

    Whether one loads is decided by its self-test; `docs/families.md` says what each can do.

    >>> "Qwen3ForCausalLM" in supported_architectures()
    True
    """
    return sorted(name for name in _BRIDGES if _language_model(name) is not None)


def check_supported(architecture: str) -> None:
    """Raise ModelError if there is no bridge for a class of transformers."""
    if architecture in _BRIDGES and _language_model(architecture) is not None:
        return
    known = supported_architectures()
    more = (
        " Classification runs through a language-model head and a verbalizer here: load the checkpoint with its "
        "language-model head instead."
        if "Classification" in architecture
        else ""
    )
    raise ModelError(
        f"architecture {architecture!r} is not supported: there is no bridge of transformer-lens for it."
        f"{nearest(architecture, known)}{more} ps.supported_architectures() lists the {len(known)} that there are"
    )


def class_of_checkpoint(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """Return the language-model class for a checkpoint: the one it names, or its sibling with such a head.

    A checkpoint of a class with another head (`BertForPreTraining`, `T5Model`) holds the weights of the language
    model's too, or does not: loading counts what is missing.

    Raises:
        ModelError: neither has a bridge.
    """
    named = (config.architectures or [""])[0]
    if named in _BRIDGES and (found := _language_model(named)) is not None:
        return found
    for sibling in _siblings(config.model_type):
        if sibling in _BRIDGES and (found := _language_model(sibling)) is not None:
            return found
    check_supported(named)
    raise AssertionError(named)


def _siblings(model_type: str) -> Iterator[str]:
    """Yield the language-model classes of a model type, the masked one first where there are two."""
    found = [getattr(modeling_auto, heads, {}).get(model_type) for heads in (_HEADS[1], _HEADS[2], _HEADS[0])]
    for one in found:
        if one is not None:
            yield from [one] if isinstance(one, str) else one


def _language_model(name: str) -> type[PreTrainedModel] | None:
    known = {one for heads in _HEADS for one in getattr(modeling_auto, heads).values()}
    found = getattr(transformers, name, None)
    return found if name in known and isinstance(found, type) else None
