"""The one place where the plain model gets another attention function, for the length of a `with` block.

transformers picks the function by a name in the model's config and calls it with tensors and keyword arguments. Two
things follow, and both are kept here:

- The name is written into the config of the model and of its parts. A lock is held meanwhile, since another thread that
  runs the model would attend by this function too. A copy of all modules with a config of its own would need no lock,
  but would have to follow every replaced weight.
- What the function needs (a packed pass, a prefix) is in a context variable, of which each thread has its own value.
  A keyword argument of the forward pass would do in most architectures, but StableLM, Nemotron, LongT5 and AFMoE do
  not pass it on to attention: they would need this way beside it.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask, sdpa_mask

from promptscope.models.attention import How
from promptscope.undo import undoing

Attend = Callable[[nn.Module, Tensor, Tensor, Tensor, Tensor | None, How], Tensor]
"""A function of the attention module, queries, keys and values `(R, n, head, d_head)`, the mask and the options, which
returns the outputs of the heads `(R, n, head, d_head)`."""

Mask = Literal["none", "sdpa", "eager"]
"""The mask that transformers makes for the function: none, one of True and False, or one that is added to scores."""

_current: ContextVar[Attend | None] = ContextVar("promptscope_attention", default=None)
_known: WeakKeyDictionary[nn.Module, list[Any]] = WeakKeyDictionary()
_locks: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()


def lock_of(model: nn.Module) -> Any:
    """Return the lock that a thread holds while it changes how *model* runs."""
    return _locks.setdefault(model, threading.RLock())


@contextmanager
def attending(twin: PreTrainedModel, function: Attend, mask: Mask = "none") -> Iterator[None]:
    """Let the plain model attend by *function* within a `with` block."""
    with lock_of(twin):
        before, outer = [(config, config._attn_implementation) for config in _configs_of(twin)], _current.get()

        def undo() -> None:
            for config, implementation in before:
                config._attn_implementation = implementation
            _current.set(outer)

        with undoing(undo):
            _current.set(function)
            for config, _ in before:
                config._attn_implementation = _name(mask)
            yield


def current_attention() -> Attend | None:
    """Return the function by which the plain model attends in this thread, None outside of `attending`."""
    return _current.get()


def _configs_of(twin: PreTrainedModel) -> list[Any]:
    """Return the configs of a model and its parts, kept after the first call (all modules are looked through)."""
    if twin not in _known:
        parts = [part for part in twin.modules() if isinstance(part, PreTrainedModel)]
        _known[twin] = list({id(part.config): part.config for part in parts}.values())
    return _known[twin]


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
    function = _current.get()
    if function is None:  # the model runs here while another thread has changed its attention
        raise RuntimeError(
            "one model cannot run in two threads at once where one of them runs it packed or with a prompt: give each "
            "thread its own model"
        )
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    how = How(scaling, sliding_window, softcap, s_aux, position_bias)
    return function(module, q, k, v, attention_mask, how), None


def _name(mask: Mask) -> str:
    return f"promptscope_{mask}"


# Without a mask function of this name, transformers makes no mask.
for kind in ("none", "sdpa", "eager"):
    AttentionInterface.register(_name(kind), _attend)
AttentionMaskInterface.register(_name("sdpa"), sdpa_mask)
AttentionMaskInterface.register(_name("eager"), eager_mask)
