"""A prompt as keys and values in every layer, before the text's: the accelerator on causal models."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.masking_utils import sdpa_mask

from promptscope.models.attention import How, attend, attending_by

_NAME = "promptscope_prefix"
_current: ContextVar["Prefix | None"] = ContextVar("promptscope_prefix", default=None)


@dataclass(frozen=True)
class Prefix:
    """Keys (after the rotary embedding) and values of k prompt positions, shared by a whole batch.

    They belong to one prompt, or to several where texts with different prompts run together (`promptscope.engine`).
    `layers` holds the layers that see the prefix; the others attend to the text alone. `gaps` counts positions that
    are taken too and that nothing attends to: they have no keys here.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> prefix = ps.SoftPrompt(length=4).bind(model).prefix(model)
    >>> prefix.length, tuple(prefix.keys[0].shape)  # (prompt, kv_head, k, d_head)
    (4, (1, 5, 4, 32))
    """

    keys: tuple[Float[Tensor, "prompt _ k _"], ...]  # kv_head, d_head: in some models not the same in every layer
    values: tuple[Float[Tensor, "prompt _ k _"], ...]
    layers: frozenset[int]
    gaps: int = 0

    @property
    def length(self) -> int:
        """Number of prompt positions k: text begins at this one."""
        return self.n_keys + self.gaps

    @property
    def n_keys(self) -> int:
        """Number of positions with keys."""
        return self.keys[0].shape[2]

    def cache(self, batch_size: int) -> DynamicCache:
        """Give a new Hugging Face cache of expanded views, without a copy. One forward pass consumes it."""
        cache = DynamicCache()
        for key, value in zip(self.keys, self.values, strict=True):
            layer = DynamicLayer()
            layer.lazy_initialization(key, value)
            layer.keys = key.expand(batch_size, -1, -1, -1)
            layer.values = value.expand(batch_size, -1, -1, -1)
            cache.layers.append(layer)
        return cache

    def detach(self) -> "Prefix":
        """Cut the prefix from the graph of the prompt's parameters."""
        return Prefix(
            tuple(key.detach() for key in self.keys),
            tuple(value.detach() for value in self.values),
            self.layers,
            self.gaps,
        )


@contextmanager
def attend_with(prefix: Prefix, twin: PreTrainedModel) -> Iterator[None]:
    """Let *twin* run with *prefix*, whose keys exist in every layer's cache, visible in its own layers only."""
    if len(prefix.layers) == len(prefix.keys):
        yield  # every layer sees the prefix: the model's own attention does
        return
    token = _current.set(prefix)
    try:
        with attending_by(twin, _NAME):
            yield
    finally:
        _current.reset(token)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    prefix = _current.get()
    if prefix is None:  # the model runs here while another thread runs it with a prefix
        raise RuntimeError("one model cannot run in two threads at once with different prompts: give each its own")
    if module.layer_idx not in prefix.layers:
        key, value = key[:, :, prefix.n_keys :], value[:, :, prefix.n_keys :]
        if attention_mask is not None:
            attention_mask = attention_mask[..., prefix.n_keys :]
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    if attention_mask is None:  # nothing but the future is hidden
        n, width = q.shape[1], k.shape[1]
        attention_mask = torch.ones(n, width, dtype=torch.bool, device=q.device).tril(width - n)
    return attend(q, k, v, attention_mask, How(scale=scaling, cap=softcap, sinks=s_aux)), None


AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, sdpa_mask)


def rotate(
    x: Float[Tensor, "... d_head"], cos: Float[Tensor, "... rotary"], sin: Float[Tensor, "... rotary"]
) -> Float[Tensor, "... d_head"]:
    """Apply a rotary embedding to the first `rotary` of `d_head` dimensions, halves paired (Llama, GPT-NeoX).

    The inverse is `rotate(x, cos, -sin)`.

    >>> x, cos, sin = torch.tensor([1.0, 0.0, 7.0]), torch.zeros(2), torch.ones(2)
    >>> rotate(x, cos, sin).tolist()  # by a right angle; the third dimension does not turn
    [0.0, 1.0, 7.0]
    """
    turned, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    left, right = turned.chunk(2, dim=-1)
    turned = turned * cos + torch.cat([-right, left], dim=-1) * sin
    return torch.cat([turned, rest], dim=-1)
