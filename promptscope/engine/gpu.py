"""The choice of the attention over flat rows: padded, unless flex attention is asked for."""

from promptscope.engine.causal import CausalPass
from promptscope.engine.choice import asked_attention
from promptscope.engine.flex import FlexPass
from promptscope.errors import ModelError
from promptscope.models import HookedModel


def fastest_pass(model: HookedModel) -> type[CausalPass]:
    """Return the class of pass that `ps.execution(attention=...)` asks for, the same at every call.

    Raises:
        ModelError: flex attention was asked for on a CPU, where it has no backward pass.
    """
    if asked_attention() != "flex":
        return CausalPass
    if model.device.type != "cuda":
        raise ModelError(
            f"attention='flex' runs on a GPU only, and {model.name!r} is on {model.device}: leave attention=None"
        )
    return FlexPass
