"""The last layer's feed-forward network, computed only at positions whose output is used."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from jaxtyping import Int
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from promptscope.models import HookedModel
from promptscope.undo import replaced

Place = tuple[nn.Module, nn.Module, str]
"""The last layer, the module in it and the name of the function that is its feed-forward network."""

_last: WeakKeyDictionary[HookedModel, Place | None] = WeakKeyDictionary()


@contextmanager
def read_only(model: HookedModel, rows: Int[Tensor, "rows"]) -> Iterator[None]:
    """Let the last layer compute its feed-forward network for the flat *rows* only, within a `with` block.

    The outputs of other rows would only be used by later layers, of which there are none.
    """
    if model not in _last:
        _last[model] = _feed_forward(model)
    found = _last[model]
    # A layer that is checkpointed runs again later, when none of this is in force.
    if found is None or "forward" in found[0].__dict__ or found[2] in found[1].__dict__:
        yield
        return
    _, module, name = found
    run = getattr(module, name)

    def on_rows(x: Tensor) -> Any:
        y = run(x.index_select(1, rows))
        if isinstance(y, Tensor):
            return x.new_zeros(x.shape).index_copy(1, rows, y)
        _last[model] = None  # experts say more than their output: such a layer runs whole, from now on
        return run(x)

    with replaced((vars(module), name, on_rows)):
        yield


def _feed_forward(model: HookedModel) -> Place | None:
    blocks = [module for module in model.twin.modules() if isinstance(module, GradientCheckpointingLayer)]
    last = blocks[-1] if blocks else None
    if last is not None and model.family.kind == "causal" and isinstance(getattr(last, "mlp", None), nn.Module):
        return last, last.get_submodule("mlp"), "forward"
    if last is not None and model.family.kind == "masked" and hasattr(last, "feed_forward_chunk"):
        return last, last, "feed_forward_chunk"
    return None
