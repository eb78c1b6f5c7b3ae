"""The transformers class into which a checkpoint is loaded, and the classes that are supported."""

from collections.abc import Iterator

import transformers
from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

from promptscope.checks import checked
from promptscope.errors import ModelError, nearest
from promptscope.models.adapters import ADAPTERS

_HEADS = (
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
)


_BRIDGES = {*SUPPORTED_ARCHITECTURES, *ADAPTERS}


@checked()
def supported_architectures() -> list[str]:
    """Return the names of the transformers classes that `load_model` accepts, in alphabetical order.

    They are the language-model classes for which TransformerLens or promptscope has a bridge. A model of such a class
    is tested when it is loaded, and a failed test is a ModelError; the site's page *Which models*
    lists what each class supports.

    >>> "Qwen3ForCausalLM" in supported_architectures()
    True
    """
    return sorted(name for name in _BRIDGES if _language_model(name) is not None)


def check_supported(architecture: str) -> None:
    """Raise ModelError if a class of transformers is not supported."""
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
        f"architecture {architecture!r} is not supported: transformer-lens has no bridge for it."
        f"{nearest(architecture, known)}{more} ps.supported_architectures() lists the {len(known)} that are supported"
    )


def class_of_checkpoint(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """Return the language-model class for a checkpoint.

    It is the class that the config names, or, if that has another head (`BertForPreTraining`, `T5Model`), the
    language-model class of the same model type. Whether the checkpoint holds the weights of the language-model head is
    checked when it is loaded (`check_weights`).

    Raises:
        ModelError: neither class is supported.
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
    """Yield the language-model classes of a model type; if there are several, the masked one first."""
    found = [getattr(modeling_auto, heads, {}).get(model_type) for heads in (_HEADS[1], _HEADS[2], _HEADS[0])]
    for one in found:
        if one is not None:
            yield from [one] if isinstance(one, str) else one


def _language_model(name: str) -> type[PreTrainedModel] | None:
    known = {one for heads in _HEADS for one in getattr(modeling_auto, heads).values()}
    found = getattr(transformers, name, None)
    return found if name in known and isinstance(found, type) else None
