"""Frozen linear layers that use weights packed once for oneDNN, within a `with` block.

On AMD CPUs, PyTorch's float32 matrix product (MKL) uses AVX2 only, at half of the possible speed. oneDNN, which PyTorch
includes, uses AVX-512, and a frozen weight has to be packed only once. Outputs differ by float32 rounding.
"""

import platform
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from promptscope.files import fingerprint
from promptscope.models.attending import lock_of
from promptscope.undo import replaced

BF16 = torch.bfloat16
WORTH = 2**18  # numbers in a model's most frequent weight from which packing pays for two more copies of all


class PackedWeight:
    """A frozen weight W `(d_out, d_in)` packed for `y = x W^T` and for its gradient `dx = dy W`.

    With bfloat16, both factors of a product are rounded to bfloat16 (8 significant bits), products are summed in
    float32, and the result is rounded to bfloat16. Inputs, outputs, bias and gradients are float32 tensors.
    """

    def __init__(self, weight: Tensor, dtype: torch.dtype = torch.float32) -> None:
        self.forward = _pack(weight.to(dtype))
        self.backward = _pack(weight.t().to(dtype))
        self.version, self.fingerprint = _version(weight), fingerprint(weight)

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return `x W^T + b` for x `(..., d_in)`, of shape `(..., d_out)`."""
        flat = x.reshape(-1, x.shape[-1])
        # Autograd's wrapper costs as much as a small product, and generation makes many of these.
        learns = torch.is_grad_enabled() and flat.requires_grad
        y = _FrozenLinear.apply(flat, self, bias) if learns else _multiply(flat, self.forward, bias)
        return y.unflatten(0, x.shape[:-1])


class _FrozenLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, packed: PackedWeight, bias: Tensor | None) -> Tensor:
        ctx.packed = packed
        return _multiply(x, packed.forward, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _multiply(grads[0].contiguous(), ctx.packed.backward, None), None, None


def _version(weight: Tensor) -> tuple[int, int]:
    return weight._version, weight.data_ptr()  # edited in place, and put in place of another


def _pack(weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), None)


def _multiply(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    if packed.dtype == x.dtype:
        return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    y = torch.ops.mkldnn._linear_pointwise(x.to(packed.dtype), packed, None, "none", [], "").to(x.dtype)
    return y if bias is None else y.add_(bias)


# dtype -> weight -> PackedWeight: modules that share a weight share it packed
_packed: dict[torch.dtype, WeakTensorKeyDictionary] = {d: WeakTensorKeyDictionary() for d in (torch.float32, BF16)}
Ready = tuple[Any, tuple[int, int, tuple[int, int]], Callable[..., Tensor]]
_known: dict[torch.dtype, WeakKeyDictionary[nn.Module, list[Ready]]] = {d: WeakKeyDictionary() for d in _packed}


@contextmanager
def prepacked(model: nn.Module, dtype: torch.dtype = torch.float32) -> Iterator[None]:
    """Let the linear layers of a frozen *model* use packed weights within a `with` block.

    The model's own weights and state dict do not change. With bfloat16, the output embedding is left out, since logits
    would be rounded. The first use packs the weights (two more copies, kept as long as the model). A weight that was
    edited is packed again; one edited through `weight.data` only after `notice_edits`.
    """
    with lock_of(model):
        # The blocks may be nested.
        ready = _ready(model, dtype)
        mine: list[tuple[Any, str, Any]] = [
            (vars(layer), "forward", run) for layer, _, run in ready if "forward" not in vars(layer)
        ]
        with replaced(*mine):
            yield


def _ready(model: nn.Module, dtype: torch.dtype) -> list[Ready]:
    """Return the linear layers of *model* with their packed weights, computed again only if a layer changed."""
    ready = _known[dtype].get(model)
    if ready is None or any(_state(layer) != seen for layer, seen, _ in ready):
        head = model.get_output_embeddings() if isinstance(model, PreTrainedModel) else None
        ready = []
        for layer in _linear_layers(model):
            weight, packed = layer.weight, _packed[torch.float32 if layer is head else dtype]
            if weight not in packed or packed[weight].version != _version(weight):
                packed[weight] = PackedWeight(weight_of(layer), torch.float32 if layer is head else dtype)
            ready.append((layer, _state(layer), partial(packed[weight], bias=layer.bias)))
        _known[dtype][model] = ready
    return ready


def notice_edits(model: nn.Module) -> None:
    """Find weights of *model* that were edited since they were packed, so that the next use packs them again.

    It also finds edits through `weight.data`, which PyTorch does not count. It reads every packed weight once: call it
    at the start of a computation, not for every pass.

    >>> layer = nn.Linear(4, 4)
    >>> _ = layer.weight.data.mul_(2.0)  # an edit that PyTorch does not count
    >>> notice_edits(layer)
    """
    for weight in {layer.weight for layer in _linear_layers(model)}:
        held = [packed for packed in _packed.values() if weight in packed]
        now = fingerprint(weight) if held else None
        for packed in held:
            if packed[weight].fingerprint != now:
                del packed[weight]
                for known in _known.values():
                    known.clear()  # a twin and its bridge share their weights


def _state(layer: Any) -> tuple[int, int, tuple[int, int]]:
    return id(layer.weight), id(layer.bias), _version(layer.weight)


def weight_of(layer: Any) -> Tensor:
    """Return the weight of a linear layer as `(d_out, d_in)`; GPT-2 stores it transposed."""
    return layer.weight.t() if isinstance(layer, Conv1D) else layer.weight


def _linear_layers(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if type(module) in (nn.Linear, Conv1D)]


def can_prepack(model: nn.Module) -> bool:
    """Return whether weights can be packed: a float32 model on a CPU, and a PyTorch with the operators for it.

    >>> can_prepack(torch.nn.Linear(4, 4).half())
    False
    """
    weight = next(model.parameters())
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return False
    names = ("_reorder_linear_weight", "_linear_pointwise")
    return all(hasattr(torch.ops.mkldnn, name) for name in names)  # private: they may go with a new release


def prepacking_pays(model: nn.Module) -> bool:
    """Return whether packing is known to be faster, by processor and layer size, so that the answer never varies.

    On AMD processors with AVX-512, packed weights were 1.0 to 2 times as fast as PyTorch's own float32 product for
    layers of 2^18 numbers or more. Smaller layers, and Intel processors, gain nothing.
    """
    if not can_prepack(model) or not _is_amd_with_avx512():
        return False
    sizes = Counter(layer.weight.numel() for layer in _linear_layers(model))
    return bool(sizes) and max(sizes, key=lambda size: sizes[size] * size) >= WORTH


@cache
def _is_amd_with_avx512() -> bool:
    try:
        processor = Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        processor = platform.processor()
    return "AuthenticAMD" in processor and torch.backends.cpu.get_cpu_capability() == "AVX512"
