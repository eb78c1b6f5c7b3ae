"""Frozen linear layers with their weights packed once for oneDNN, in place only inside a `with` block.

PyTorch's float32 matrix product leaves half of an AMD CPU unused (its MKL takes an AVX2 path there); oneDNN, in the
same wheel, does not, and a frozen weight has to be packed only once. Outputs differ by float32 rounding.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.utils.weak import WeakTensorKeyDictionary
from transformers.pytorch_utils import Conv1D

from promptscope.engine.attention import lock_of
from promptscope.files import fingerprint

WORTH = 1.2  # measured gain from which packing pays for two more copies of the weights


class PackedWeight:
    """A frozen weight `(d_out, d_in)` packed for `y = x W^T` and for its gradient `dx = dy W`."""

    def __init__(self, weight: Tensor) -> None:
        self.forward = _pack(weight)
        self.backward = _pack(weight.t())
        self.version, self.fingerprint = _version(weight), fingerprint(weight)

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return `x W^T + b`."""
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
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")


_packed = WeakTensorKeyDictionary()  # weight -> PackedWeight: modules that share a weight share it packed
Ready = tuple[Any, tuple[int, int, tuple[int, int]], Callable[..., Tensor]]
_known: WeakKeyDictionary[nn.Module, list[Ready]] = WeakKeyDictionary()


@contextmanager
def prepacked(model: nn.Module) -> Iterator[None]:
    """Let the linear layers of a frozen *model* run on packed weights; weights and state dict stay as they are.

    The first use packs (two copies of each weight, kept as long as the model); a weight that changed since is packed
    again (one that changed through `weight.data` only after `notice_edits`).
    """
    with lock_of(model):
        # The blocks may be nested.
        mine = [(layer.__dict__, run) for layer, _, run in _ready(model) if "forward" not in layer.__dict__]
        for attributes, run in mine:
            attributes["forward"] = run
        try:
            yield
        finally:
            for attributes, _ in mine:
                del attributes["forward"]


def _ready(model: nn.Module) -> list[Ready]:
    """Return the linear layers of *model* with their packed forms, looked up anew only if a layer changed."""
    ready = _known.get(model)
    if ready is None or any(_state(layer) != seen for layer, seen, _ in ready):
        ready = []
        for layer in _linear_layers(model):
            weight = layer.weight
            if weight not in _packed or _packed[weight].version != _version(weight):
                _packed[weight] = PackedWeight(weight_of(layer))
            ready.append((layer, _state(layer), partial(_packed[weight], bias=layer.bias)))
        _known[model] = ready
    return ready


def notice_edits(model: nn.Module) -> None:
    """Let the next use pack weights of *model* again whose numbers changed, also through `weight.data`.

    It reads every packed weight once: for the start of a computation, not for every pass.
    """
    weights = {layer.weight for layer in _linear_layers(model)}
    edited = [weight for weight in weights if weight in _packed and _packed[weight].fingerprint != fingerprint(weight)]
    for weight in edited:
        del _packed[weight]
    if edited:
        _known.clear()  # a twin and its bridge share their weights


def _state(layer: Any) -> tuple[int, int, tuple[int, int]]:
    return id(layer.weight), id(layer.bias), _version(layer.weight)


def weight_of(layer: Any) -> Tensor:
    """Return the weight of a linear layer as `(d_out, d_in)`; GPT-2 stores it the other way round."""
    return layer.weight.t() if isinstance(layer, Conv1D) else layer.weight


def _linear_layers(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if type(module) in (nn.Linear, Conv1D)]


def can_prepack(model: nn.Module) -> bool:
    """Say whether packing exists here: float32 on a CPU, and a PyTorch with the operators that this needs."""
    weight = next(model.parameters())
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return False
    names = ("_reorder_linear_weight", "_linear_pointwise")
    return all(hasattr(torch.ops.mkldnn, name) for name in names)  # private: they may go with a new release


def prepacking_gain(model: nn.Module) -> float:
    """Measure how much faster packed weights are here: forward and backward of the model's commonest layer.

    The median over rounds of time(PyTorch) / time(packed), at 256 rows; 1 where packing is impossible.
    """
    if not can_prepack(model):
        return 1.0
    shapes = [tuple(weight_of(layer).shape) for layer in _linear_layers(model)]
    if not shapes:
        return 1.0
    return _gain(*max(set(shapes), key=lambda shape: shapes.count(shape) * shape[0] * shape[1]))


@cache
def _gain(d_out: int, d_in: int, rows: int = 256, rounds: int = 7) -> float:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(d_out, d_in, generator=generator)
    x = torch.randn(rows, d_in, generator=generator).requires_grad_()
    packed = PackedWeight(weight)
    repeats = max(1, 100_000_000 // (rows * d_out * d_in))
    plain, fast = partial(linear, weight=weight), packed
    with torch.enable_grad():
        ratios = [_seconds(plain, x, repeats) / _seconds(fast, x, repeats) for _ in range(rounds + 1)]
    return statistics.median(ratios[1:])  # the first round warms up


def _seconds(function: Callable[[Tensor], Tensor], x: Tensor, repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        y = function(x)
        y.backward(y.detach())
    return time.process_time() - start
