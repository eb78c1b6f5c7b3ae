"""What a reading was made from."""

from collections.abc import Sequence
from typing import Any

from promptscope.models import HookedModel
from promptscope.prompts import Prompt
from promptscope.readings.nulls import Subject


def provenance(model: HookedModel, prompt: Prompt, read: Sequence[Subject]) -> dict[str, Any]:
    """Return the model, the hash of the prompt, and which nulls were read."""
    kinds = [subject.kind for subject in read]
    return {
        "model": model.name,
        "revision": model.revision,
        "embedding_hash": model.embedding_hash,
        "prompt": prompt.content_hash(),
        "nulls": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds) if kind != "prompt"},
        # Input and output embeddings that are not tied live in different spaces: early layers then read as nonsense.
        "tied_embeddings": bool(getattr(model.twin.config, "tie_word_embeddings", False)),
    }
