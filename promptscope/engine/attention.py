"""The attention function of packed passes, registered in Hugging Face's attention interface."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from promptscope.models.attention import How, attend, attending_by

__all__ = ["How", "Pass", "attend", "current_pass", "lock_of", "running"]

NAME = "promptscope_packed"


@runtime_checkable  # so that beartype can check it
class Pass(Protocol):
    """One forward pass over flat rows, which computes its attention."""

    def attend(self, module: Any, query: Tensor, key: Tensor, value: Tensor, how: How) -> Tensor:
        """Return the attention output `(T, head, d_head)` for flat queries, keys and values `(T, head, d_head)`."""
        ...


_current: ContextVar[Pass | None] = ContextVar("promptscope_pass", default=None)
_locks: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()


def lock_of(model: nn.Module) -> Any:
    """Return the lock that a thread holds while it changes the attention function of *model*."""
    return _locks.setdefault(model, threading.RLock())


@contextmanager
def running(twin: PreTrainedModel, current: Pass) -> Iterator[None]:
    """Let the plain model use the attention of *current*; it is given rows `(1, T, d)` and makes no mask itself."""
    # Which attention a model runs is written in its config, so a second thread has to wait for the first.
    with lock_of(twin), attending_by(twin, NAME):
        token = _current.set(current)
        try:
            yield
        finally:
            _current.reset(token)


def current_pass() -> Pass | None:
    """Return the pass that is running, or None."""
    return _current.get()


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    current = _current.get()
    if current is None:  # the model runs here while another thread has it packed
        raise RuntimeError(
            "a model cannot run packed and unpacked in two threads at once: load a model for each thread"
        )
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    how = How(scaling, sliding_window, softcap, s_aux, position_bias)
    return current.attend(module, q, k, v, how)[None], None


# No mask function goes with it, so Hugging Face makes no mask: the pass has its own.
AttentionInterface.register(NAME, _attend)
