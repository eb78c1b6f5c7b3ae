"""The settings of `ps.execution`, and the kernel of linear layers that follows from them."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch

from promptscope.checks import checked
from promptscope.engine.linears import can_prepack, prepacked, prepacking_pays
from promptscope.errors import ModelError
from promptscope.models import HookedModel


@dataclass(frozen=True)
class Execution:
    """The settings of `execution` that are in force; None leaves the choice to promptscope.

    >>> Execution(packed=False).prepacked is None
    True
    """

    packed: bool | None = None
    prepacked: bool | None = None
    attention: str | None = None
    matmul: str | None = None


_AUTOMATIC = Execution()
_asked: ContextVar[Execution] = ContextVar("promptscope_execution", default=_AUTOMATIC)


@checked()
@contextmanager
def execution(
    packed: bool | None = None,
    prepacked: bool | None = None,
    attention: str | None = None,
    matmul: str | None = None,
) -> Iterator[None]:
    """Choose how models run within a `with` block; apart from rounding, results stay the same.

    What None means depends on the processor and the model, not on a time measurement, so that the same call on the same
    machine gives the same bits.

    Args:
        packed: False runs padded batches on the plain model, with a prefix cache if the model supports one. True and
            None run packed (flat rows without padding) if that is possible.
        prepacked: whether frozen linear layers of packed passes use weights packed for oneDNN (CPU, float32). None does
            so on processors where it is known to be faster (AMD with AVX-512) for models with large enough layers. It
            takes memory for two more copies of the weights.
        attention: the attention over the flat rows of a packed pass: `"padded"` (as None), or `"flex"`, PyTorch's
            compiled flex attention, which computes nothing for padding (GPU only).
        matmul: `"bf16"` lets the frozen linear layers of a float32 model, except the output embedding, multiply in
            bfloat16 (CPU). Prompts, residual stream, attention, sums and optimiser stay in float32. Products are then
            rounded to 8 bits, which changes a prompt's gradient by about 1e-2 of its size; the settings of a run record
            it. Probes and hooks always run in float32. `"float32"` (as None) is exact.

    Raises:
        ModelError: *attention* or *matmul* has another value.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> with ps.execution(packed=False):
    ...     scores = ps.evaluate(model, None, task, limit=4, progress=False)
    """
    if attention not in (None, "padded", "flex"):
        raise ModelError(f"attention must be 'padded', 'flex' or None, got {attention!r}")
    if matmul not in (None, "float32", "bf16"):
        raise ModelError(f"matmul must be 'float32', 'bf16' or None, got {matmul!r}")
    changes: dict[str, Any] = {"packed": packed, "prepacked": prepacked, "attention": attention, "matmul": matmul}
    token = _asked.set(replace(asked(), **{name: value for name, value in changes.items() if value is not None}))
    try:
        yield
    finally:
        _asked.reset(token)


def asked() -> Execution:
    """Return the settings that are in force in this thread."""
    return _asked.get()


def kernel(model: HookedModel, module: torch.nn.Module | None = None) -> AbstractContextManager[None]:
    """Use packed weights in the linear layers of *module* (default: the plain model) in a `with` block, if faster.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> ids = torch.tensor([[5, 7, 9]])
    >>> with kernel(model), torch.no_grad():
    ...     model.twin(ids).logits.shape == (1, 3, model.shape.vocab_size)
    True
    """
    if module is None and matmul(model) == "bf16":
        return prepacked(model.twin, torch.bfloat16)
    return prepacked(module or model.twin) if uses_prepacked(model) else nullcontext()


def matmul(model: HookedModel) -> str:
    """Return the type in which frozen linear layers multiply: `float32`, or `bf16` if `execution` asks for it.

    Raises:
        ModelError: `bf16` was asked for and the model or processor does not support it.

    >>> import promptscope as ps
    >>> matmul(ps.load_model("embedded-causal"))
    'float32'
    """
    wanted = _asked.get().matmul or "float32"
    if wanted == "bf16" and not (can_prepack(model.twin) and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        raise ModelError(
            "matmul='bf16' needs a float32 model on a CPU with AVX-512 or AMX, and "
            f"{model.name!r} is {model.dtype} on {model.device}: leave matmul=None, or load the model in bfloat16"
        )
    return wanted


def uses_prepacked(model: HookedModel) -> bool:
    """Return whether linear layers use packed weights: as `execution` asks, otherwise where it is known to be faster.

    Raises:
        ModelError: packed weights were asked for and the model does not support them.

    >>> import promptscope as ps
    >>> uses_prepacked(ps.load_model("embedded-causal"))  # its layers are too small to gain
    False
    """
    wanted = _asked.get().prepacked
    if wanted is None:
        return prepacking_pays(model.twin)
    if wanted and not can_prepack(model.twin):
        raise ModelError(
            f"prepacked=True needs float32 models on a CPU, got {model.name!r} with {model.dtype} on "
            f"{model.device}: leave prepacked=None"
        )
    return wanted
