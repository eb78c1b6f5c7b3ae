"""The largest number of positions that a model accepts."""

from transformers import PreTrainedModel

_BY_LENGTH = ("dynamic", "longrope")
"""Rotary embeddings whose angles change for *all* positions as soon as a text is longer than the original context."""


def context_of(twin: PreTrainedModel, position_zero: int = 0) -> int | None:
    """Return the largest number of positions, or None if there is no limit.

    *position_zero* is the number of the model's first position (RoBERTa: 2). Where rotary angles depend on the length
    of the text (`dynamic`, `longrope`), the limit is the length up to which they do not: beyond it, the keys at prompt
    positions would depend on the length of the text after them, and the keys of a text on the other texts of its batch.
    """
    config = twin.config
    limit = getattr(config, "max_position_embeddings", None)
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    for part in kinds:
        if part.get("rope_type") in _BY_LENGTH:
            original = part.get("original_max_position_embeddings") or getattr(
                config, "original_max_position_embeddings", None
            )
            limit = min(n for n in (limit, original) if n is not None)
    return None if limit is None else limit - position_zero
