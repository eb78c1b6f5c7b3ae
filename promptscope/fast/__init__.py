"""The fast path: models run over flat rows without padding, prompts once, frozen weights packed once. See README.md."""

from promptscope.fast.checkpointing import checkpointed
from promptscope.fast.choice import Execution, PackingWarning, execution, is_packed, kernel, uses_prepacked
from promptscope.fast.continuation import Continuation, continue_texts
from promptscope.fast.forward import logits_where, share
from promptscope.fast.head import only_tokens
from promptscope.fast.linears import can_prepack, notice_edits
from promptscope.fast.passes import shared_over_passes
from promptscope.fast.shared import Shared

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
    "notice_edits",
    "only_tokens",
    "share",
    "shared_over_passes",
    "uses_prepacked",
]
