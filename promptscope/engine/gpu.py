"""On a GPU: which of the two attentions over the flat layout is faster, measured once per model."""

import statistics
import warnings
from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch

from promptscope.engine.causal import CausalPass, hidden_rows
from promptscope.engine.choice import PackingWarning
from promptscope.engine.flex import FlexPass
from promptscope.engine.shared import Shared
from promptscope.models import HookedModel

_fastest: WeakKeyDictionary[HookedModel, type[CausalPass]] = WeakKeyDictionary()


def fastest_pass(model: HookedModel) -> type[CausalPass]:
    """Return the pass that trains fastest here: on a CPU the padded attention, on a GPU what is measured."""
    if model.device.type != "cuda":
        return CausalPass
    if model not in _fastest:
        _fastest[model] = _measure(model)
    return _fastest[model]


def _measure(model: HookedModel, rounds: int = 5) -> type[CausalPass]:
    """Time forward and backward of ragged texts both ways, in turn, with CUDA events; the first round warms up."""
    seconds: dict[type[CausalPass], list[float]] = {CausalPass: [], FlexPass: []}
    for _ in range(rounds + 1):
        for kind, times in seconds.items():
            try:
                times.append(_milliseconds(_step(model, kind)))
            except Exception as error:  # compilation fails in many ways, and the other attention needs none
                warnings.warn(f"flex attention does not run here: {error}", PackingWarning, stacklevel=2)
                return CausalPass
    medians = {kind: statistics.median(times[1:]) for kind, times in seconds.items()}
    return min(medians, key=lambda kind: medians[kind])


def _step(model: HookedModel, kind: type[CausalPass]) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    context = model.shape.context
    longest = 120 if context is None else min(120, context - 20)
    lengths = torch.randint(longest // 12 + 1, longest + 1, (16,), generator=generator)
    ids = torch.randint(model.shape.vocab_size, (16, int(lengths.max())), generator=generator).to(model.device)
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).to(model.device)
    rows = model.embed(ids[:1, :20]).detach().requires_grad_()

    def step() -> None:
        with torch.enable_grad():
            hidden, _ = hidden_rows(model, Shared(1, None, rows), ids, mask, kind=kind)
            hidden.sum().backward()

    return step


def _milliseconds(step: Callable[[], None]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    step()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)
