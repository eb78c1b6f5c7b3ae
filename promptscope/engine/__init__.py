"""The engine: models run over flat rows without padding, prompts once, frozen weights packed once. See README.md."""

from promptscope.engine.checkpointing import checkpointed
from promptscope.engine.choice import (
    Execution,
    PackingWarning,
    execution,
    is_packed,
    kernel,
    matmul,
    uses_prepacked,
)
from promptscope.engine.continuation import Continuation, continue_texts
from promptscope.engine.forward import logits_where, share
from promptscope.engine.head import only_tokens
from promptscope.engine.linears import can_prepack, notice_edits
from promptscope.engine.passes import shared_over_passes
from promptscope.engine.shared import Shared

__all__ = [
    "Continuation",
    "Execution",
    "PackingWarning",
    "Shared",
    "can_prepack",
    "checkpointed",
    "continue_texts",
    "execution",
    "is_packed",
    "kernel",
    "logits_where",
    "matmul",
    "notice_edits",
    "only_tokens",
    "share",
    "shared_over_passes",
    "uses_prepacked",
]
