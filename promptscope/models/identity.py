"""Hashes of everything that determines a model's outputs; runs, captures and scores are stored under them."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from promptscope.files import content_hash
from promptscope.models.attached import AttachedHook

NOT_MATHS = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype", "use_cache")


def config_hash(config: PretrainedConfig) -> str:
    """Return a hash of the settings of a configuration that affect the forward pass, without names and versions."""
    values = json.loads(config.to_json_string(use_diff=False))
    return content_hash({name: value for name, value in values.items() if name not in NOT_MATHS})


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a hash of everything that determines how a tokenizer encodes and decodes; not its name or padding side."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    steps = ("model", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    try:
        parts = [
            getattr(backend, step).__getstate__().hex() if getattr(backend, step, None) else None for step in steps
        ]
    except Exception:  # a step written in Python, which the tokenizers library cannot serialise
        return f"unknown {uuid.uuid4()}"
    return content_hash(
        [
            type(tokenizer).__name__,
            parts if backend is not None else sorted(tokenizer.get_vocab().items()),
            {str(id): repr(token) for id, token in tokenizer.added_tokens_decoder.items()},
            {name: str(value) for name, value in tokenizer.special_tokens_map.items()},
            getattr(tokenizer, "chat_template", None),
            getattr(tokenizer, "clean_up_tokenization_spaces", None),
        ]
    )


def hooks_identity(hooks: Sequence[AttachedHook]) -> list[dict[str, Any]]:
    """Return the hook point, kind and identity of each hook, in order; an identity that cannot be hashed is None."""
    return [{"point": hook.point, "kind": hook.kind, "identity": hook.identity} for hook in hooks]


def is_known(identity: dict[str, Any]) -> bool:
    """Return whether a `HookedModel.identity` is complete: no hook has the identity None."""
    return all(hook["identity"] is not None for hook in identity.get("hooks", ()))
