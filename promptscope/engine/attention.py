"""How packed passes attend, in place of the plain model's attention."""

from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from torch import Tensor
from transformers import PreTrainedModel

from promptscope.models.attending import attending
from promptscope.models.attention import How, attend

__all__ = ["How", "Pass", "attend", "running"]


@runtime_checkable  # so that beartype can check it
class Pass(Protocol):
    """One forward pass over flat rows, which computes its attention."""

    def attend(self, module: Any, query: Tensor, key: Tensor, value: Tensor, how: How) -> Tensor:
        """Return the attention output `(T, head, d_head)` for flat queries, keys and values `(T, head, d_head)`."""
        ...


def running(twin: PreTrainedModel, current: Pass) -> AbstractContextManager[None]:
    """Let the plain model use the attention of *current*; it is given rows `(1, T, d)` and makes no mask itself."""

    def flat(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, how: How) -> Tensor:
        return current.attend(module, query[0], key[0], value[0], how)[None]

    return attending(twin, flat)
