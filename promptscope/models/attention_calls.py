"""What a plain model asks of attention, module by module: recorded in a run in which nothing is multiplied."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from promptscope.models.attending import attending
from promptscope.models.attention import How


@dataclass(frozen=True)
class Call:
    """One call of an attention module: numbers of queries and keys, the mask added to scores, and the options."""

    module: nn.Module
    n_queries: int
    n_keys: int
    mask: Tensor | None
    how: How


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

    def look(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, how: How) -> Tensor:
        calls.append(Call(module, query.shape[1], key.shape[1], mask, how))
        return query.new_zeros(*query.shape[:3], value.shape[-1])

    with torch.no_grad(), attending(twin, look, mask="eager"), _NoProducts():
        run()
    return calls
