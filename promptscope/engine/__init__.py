"""The engine: passes over flat rows without padding, in which prompts run once for the batch. See README.md."""

from promptscope.engine.checkpointing import checkpointed
from promptscope.engine.choice import PackingWarning, is_packed
from promptscope.engine.head import only_tokens
from promptscope.engine.linears import can_prepack, notice_edits
from promptscope.engine.passes import over_passes
from promptscope.engine.run import Continuation, continue_, logits, place, share
from promptscope.engine.settings import Execution, execution, kernel, matmul, uses_prepacked
from promptscope.engine.shared import Shared
from promptscope.engine.texts import Texts

__all__ = [
    "Continuation",
    "Execution",
    "PackingWarning",
    "Shared",
    "Texts",
    "can_prepack",
    "checkpointed",
    "continue_",
    "execution",
    "is_packed",
    "kernel",
    "logits",
    "matmul",
    "notice_edits",
    "only_tokens",
    "over_passes",
    "place",
    "share",
    "uses_prepacked",
]
