"""Attention with the options that models use: scale, window, capped scores, sinks and a bias, under any mask."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

_known: WeakKeyDictionary[nn.Module, list[Any]] = WeakKeyDictionary()


@dataclass(frozen=True)
class How:
    """The options with which a model calls the attention of a layer.

    Scores are `scale q.k`; with `cap`, `cap tanh(score / cap)`; `bias` is added to them. With `window`, a query attends
    to keys less than `window` positions away. `sinks (head,)` are the scores of an additional key whose value is zero.
    """

    scale: float | None = None
    window: int | None = None
    cap: float | None = None
    sinks: Tensor | None = None
    bias: Tensor | None = None


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, how: How, causal: bool = False) -> Tensor:
    """Return the output of attention `(R, n, head, d_head)` for queries, keys and values of R rows.

    *mask* is True where a query may attend to a key, or holds numbers that are added to scores. With fewer heads of
    keys than of queries, the heads of a group share keys. `how.bias` and `how.window` are not applied here: the caller
    includes them in *mask*, since they depend on the positions of queries and keys.
    """
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    if how.cap is not None:
        mask = _lower(q.shape[2], k.shape[2], q.device) if causal else mask
        return _capped(q, k, v, mask, how).transpose(1, 2)
    if how.sinks is not None:
        mask = _lower(q.shape[2], k.shape[2], q.device) if causal else mask
        k, v, mask, causal = *_with_sinks(k, v, _added(mask, q, k), how.sinks), False
    grouped = q.shape[1] != k.shape[1]
    out = scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=how.scale, enable_gqa=grouped)
    return out.transpose(1, 2)


def _capped(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, how: How) -> Tensor:
    """Attend with capped scores, which PyTorch's SDPA does not support."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    assert how.cap is not None
    scores = (q @ k.transpose(2, 3)) * (q.shape[-1] ** -0.5 if how.scale is None else how.scale)
    scores = how.cap * torch.tanh(scores / how.cap) + _added(mask, q, k)
    if how.sinks is not None:
        k, v, scores = _with_sinks(k, v, scores, how.sinks)
    return scores.softmax(-1, dtype=torch.promote_types(q.dtype, torch.float32)).to(q.dtype) @ v


def _with_sinks(k: Tensor, v: Tensor, added: Tensor, sinks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Append a key and a value of zeros, whose score is the sink of each head."""
    nothing = k.new_zeros(*k.shape[:2], 1, k.shape[3])
    column = sinks.to(added)[None, :, None, None].expand(added.shape[0], -1, added.shape[2], 1)
    added = added.expand(-1, len(sinks), -1, -1)
    return torch.cat([k, nothing], dim=2), torch.cat([v, nothing], dim=2), torch.cat([added, column], dim=3)


def _added(mask: Tensor | None, q: Tensor, k: Tensor) -> Tensor:
    """Return *mask* as numbers that are added to scores, `(R or 1, head or 1, n, K)`."""
    if mask is None:
        return q.new_zeros(1, 1, q.shape[2], k.shape[2])
    if mask.dtype == torch.bool:
        mask = q.new_zeros(mask.shape).masked_fill(~mask, torch.finfo(q.dtype).min)
    return mask.reshape(*(1,) * (4 - mask.ndim), *mask.shape).expand(-1, -1, q.shape[2], -1)


def _lower(n: int, width: int, device: torch.device) -> Tensor:
    return torch.ones(n, width, dtype=torch.bool, device=device).tril()


def configs_of(twin: PreTrainedModel) -> list[Any]:
    """Return the configs of a model and its parts, kept after the first call (all modules are looked through)."""
    if twin not in _known:
        parts = [part for part in twin.modules() if isinstance(part, PreTrainedModel)]
        _known[twin] = list({id(part.config): part.config for part in parts}.values())
    return _known[twin]


@contextmanager
def attending_by(twin: PreTrainedModel, name: str) -> Iterator[None]:
    """Let the plain model use the attention function registered under *name* within a `with` block."""
    before = [(config, config._attn_implementation) for config in configs_of(twin)]
    try:
        for config, _ in before:
            config._attn_implementation = name
        yield
    finally:
        for config, implementation in before:
            config._attn_implementation = implementation


@dataclass(frozen=True)
class Call:
    """One call of an attention module: numbers of queries and keys, the mask added to scores, and the options."""

    module: nn.Module
    n_queries: int
    n_keys: int
    mask: Tensor | None
    how: How


_LOOK = "promptscope_look"
_calls: ContextVar[list[Call]] = ContextVar("promptscope_calls")


def _look(
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
    how = How(scaling, sliding_window, softcap, s_aux, position_bias)
    _calls.get().append(Call(module, query.shape[2], key.shape[2], attention_mask, how))
    return query.new_zeros(query.shape[0], query.shape[2], query.shape[1], value.shape[-1]), None


AttentionInterface.register(_LOOK, _look)
AttentionMaskInterface.register(_LOOK, eager_mask)


class _NoProducts(TorchFunctionMode):
    """Lets linear layers return zeros: only the shapes and arguments of calls are of interest."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if function is nn.functional.linear:
            x, weight = args[:2]
            return x.new_zeros(*x.shape[:-1], weight.shape[0])
        if function is torch.addmm:  # GPT-2's linear layers
            _, x, weight = args[:3]
            return x.new_zeros(x.shape[0], weight.shape[1])
        return function(*args, **(kwargs or {}))


def attention_calls(twin: PreTrainedModel, run: Callable[[], object]) -> list[Call]:
    """Return the calls of Hugging Face's attention interface while *run* runs the plain model, in order.

    Attention and linear layers return zeros during this run, since only the calls and their arguments are of interest.
    """
    calls: list[Call] = []
    token = _calls.set(calls)
    try:
        with torch.no_grad(), attending_by(twin, _LOOK), _NoProducts():
            run()
    finally:
        _calls.reset(token)
    return calls
