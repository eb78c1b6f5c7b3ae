"""Attention with the options that models use: scale, window, capped scores, sinks and a bias, under any mask."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


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
