"""Logits of a few tokens of the vocabulary only."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from promptscope.models import HookedModel
from promptscope.models.attending import lock_of
from promptscope.undo import replaced


@contextmanager
def only_tokens(model: HookedModel, ids: Sequence[int]) -> Iterator[None]:
    """Compute logits of the tokens *ids* only, within a `with` block: one column for each id, in the same order.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> with only_tokens(model, [5, 9]), torch.no_grad():
    ...     tuple(model.twin(torch.tensor([[5, 7, 9]])).logits.shape)
    (1, 3, 2)
    """
    head: Any = model.twin.get_output_embeddings()
    chosen = torch.tensor(list(ids), device=model.device)
    weight, bias = head.weight[chosen], head.bias[chosen] if head.bias is not None else None
    with lock_of(model.twin):
        places: list[tuple[Any, str, Any]] = [
            (vars(head), "forward", _Columns(head, weight, bias, threading.get_ident()))
        ]
        added = model.twin._buffers.get("final_logits_bias")  # BART's, which it adds to whatever the head gives
        if added is not None:
            fitting = added[:, chosen] if added.shape[1] > len(chosen) else added
            places.append((model.twin._buffers, "final_logits_bias", fitting))
        with replaced(*places):
            yield


@dataclass(frozen=True, eq=False)
class _Columns:
    # A class, and no function: whose code it is can be told also where type checks wrap functions.
    head: Any
    weight: Tensor
    bias: Tensor | None
    thread: int

    def __call__(self, x: Tensor) -> Tensor:
        if threading.get_ident() != self.thread:  # another one runs here meanwhile, and wants them all
            return type(self.head).forward(self.head, x)
        return linear(x, self.weight, self.bias)
