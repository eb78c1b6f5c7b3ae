"""The one attention function that knows the layout, registered with Hugging Face under a name of its own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

NAME = "promptscope_packed"


@runtime_checkable  # so that beartype can check it
class Pass(Protocol):
    """One forward pass over flat rows: what its attention does."""

    def attend(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, scale: float | None, bias: Tensor | None
    ) -> Tensor:
        """Return what the heads read, `(T, head, d_head)`, of flat queries, keys and values `(T, head, d_head)`."""
        ...


_current: ContextVar[Pass | None] = ContextVar("promptscope_pass", default=None)
_locks: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_known: WeakKeyDictionary[nn.Module, list[Any]] = WeakKeyDictionary()


def lock_of(model: nn.Module) -> Any:
    """Return the lock that a thread holds while it changes how *model* runs."""
    return _locks.setdefault(model, threading.RLock())


@contextmanager
def running(twin: PreTrainedModel, current: Pass) -> Iterator[None]:
    """Let *twin* attend as *current* says. It is given rows `(1, T, d)` and makes no mask of its own."""
    # Which attention a model runs is written in its config, so a second thread has to wait for the first.
    with lock_of(twin):
        before = [(config, config._attn_implementation) for config in _configs(twin)]
        token = _current.set(current)
        try:
            for config, _ in before:
                config._attn_implementation = NAME
            yield
        finally:
            for config, implementation in before:
                config._attn_implementation = implementation
            _current.reset(token)


def _configs(twin: PreTrainedModel) -> list[Any]:
    """Return the configs of a model and its parts; looking through all modules is slow beside one decoding step."""
    if twin not in _known:
        parts = [part for part in twin.modules() if isinstance(part, PreTrainedModel)]
        _known[twin] = list({id(part.config): part.config for part in parts}.values())
    return _known[twin]


def current_pass() -> Pass | None:
    """Return the pass that is running, None outside of one."""
    return _current.get()


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    scaling: float | None = None,
    position_bias: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    current = _current.get()
    if current is None:  # the model runs here while another thread has it packed
        raise RuntimeError("one model cannot run packed and plainly in two threads at once: give each its own")
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    return current.attend(module, q, k, v, scaling, position_bias)[None], None


# No mask function goes with it, so Hugging Face makes no mask: the pass has its own.
AttentionInterface.register(NAME, _attend)


def sdpa(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None, causal: bool = False
) -> Tensor:
    """Attend over `(R, n, head, d_head)`; heads of a group share keys and values."""
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    grouped = q.shape[1] != k.shape[1]
    out = scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=scale, enable_gqa=grouped)
    return out.transpose(1, 2)
