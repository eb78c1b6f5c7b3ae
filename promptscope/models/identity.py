"""What decides a model's numbers, as plain values: the key under which runs, captures and scores are kept."""

import json
from collections.abc import Sequence
from typing import Any

from transformers import PretrainedConfig

from promptscope.files import content_hash
from promptscope.models.attached import AttachedHook

_NOT_MATHS = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype", "use_cache")


def config_hash(config: PretrainedConfig) -> str:
    """Hash what a configuration says of the forward pass, but not names and versions."""
    values = json.loads(config.to_json_string(use_diff=False))
    return content_hash({name: value for name, value in values.items() if name not in _NOT_MATHS})


def hooks_identity(hooks: Sequence[AttachedHook]) -> list[dict[str, Any]]:
    """Return where hooks are and what they compute, in order; `identity` is None where that cannot be told."""
    return [{"point": hook.point, "kind": hook.kind, "identity": hook.identity} for hook in hooks]


def is_known(identity: dict[str, Any]) -> bool:
    """Whether an `HookedModel.identity` tells two models apart: all hooks say what they compute."""
    return all(hook["identity"] is not None for hook in identity.get("hooks", ()))
