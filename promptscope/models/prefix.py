"""A prompt as keys and values in every layer (a prefix cache), the fast way to run it on causal models."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from promptscope.models.attending import attending
from promptscope.models.attention import How, attend


@dataclass(frozen=True)
class Prefix:
    """Keys (after the rotary embedding) and values of k prompt positions in every layer, shared by a whole batch.

    `keys` and `values` have one tensor `(prompt, kv_head, k, d_head)` for each layer; the first dimension is larger
    than 1 if texts with different prompts run together (`promptscope.engine`). `layers` are the layers whose queries
    attend to the prefix; in the others they attend to the text only. `gaps` is the number of hidden positions, which
    count as positions and have no keys.

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
        """The number of prompt positions, hidden ones included; the text starts at this position."""
        return self.n_keys + self.gaps

    @property
    def n_keys(self) -> int:
        """The number of positions with keys, without the hidden ones."""
        return self.keys[0].shape[2]

    def cache(self, batch_size: int) -> DynamicCache:
        """Return a new Hugging Face cache for *batch_size* texts (views, no copies); it serves one forward pass."""
        cache = DynamicCache()
        for key, value in zip(self.keys, self.values, strict=True):
            layer = DynamicLayer()
            layer.lazy_initialization(key, value)
            layer.keys = key.expand(batch_size, -1, -1, -1)
            layer.values = value.expand(batch_size, -1, -1, -1)
            cache.layers.append(layer)
        return cache

    def detach(self) -> "Prefix":
        """Return the prefix without gradient to the prompt's parameters."""
        return Prefix(
            tuple(key.detach() for key in self.keys),
            tuple(value.detach() for value in self.values),
            self.layers,
            self.gaps,
        )


def attend_with(prefix: Prefix, twin: PreTrainedModel) -> AbstractContextManager[None]:
    """Run the plain model with *prefix* within a `with` block; only queries of `prefix.layers` attend to its keys."""
    if len(prefix.layers) == len(prefix.keys):
        return nullcontext()  # every layer sees the prefix: the model's own attention does

    def among_its_layers(
        module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, how: How
    ) -> Tensor:
        if module.layer_idx not in prefix.layers:
            key, value = key[:, prefix.n_keys :], value[:, prefix.n_keys :]
            mask = mask if mask is None else mask[..., prefix.n_keys :]
        if mask is None:  # nothing but the future is hidden
            n, width = query.shape[1], key.shape[1]
            mask = torch.ones(n, width, dtype=torch.bool, device=query.device).tril(width - n)
        return attend(query, key, value, mask, how)

    return attending(twin, among_its_layers, mask="sdpa")


def rotate(
    x: Float[Tensor, "... d_head"], cos: Float[Tensor, "... rotary"], sin: Float[Tensor, "... rotary"]
) -> Float[Tensor, "... d_head"]:
    """Apply a rotary embedding to the first `rotary` of `d_head` dimensions.

    With h = rotary / 2, dimensions i and i + h form a pair (as in Llama and GPT-NeoX):
    `y_i = x_i cos_i - x_{i+h} sin_i` and `y_{i+h} = x_{i+h} cos_{i+h} + x_i sin_{i+h}`; other dimensions are unchanged.
    The inverse is `rotate(x, cos, -sin)`. Su et al. 2021 (RoFormer), equation 34, which pairs adjacent dimensions.

    >>> x, cos, sin = torch.tensor([1.0, 0.0, 7.0]), torch.zeros(2), torch.ones(2)
    >>> rotate(x, cos, sin).tolist()  # by 90 degrees; the third dimension is unchanged
    [0.0, 1.0, 7.0]
    """
    turned, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    left, right = turned.chunk(2, dim=-1)
    turned = turned * cos + torch.cat([-right, left], dim=-1) * sin
    return torch.cat([turned, rest], dim=-1)
