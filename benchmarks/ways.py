"""The ways in which promptscope itself is timed, and what packing the weights costs."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from benchmarks.equality import Outcome
from benchmarks.memory import peak_mb
from benchmarks.timing import cpu_clock
from promptscope.engine import execution, kernel, uses_prepacked
from promptscope.models import HookedModel

Run = Callable[[], Outcome]


def in_every_way(model: HookedModel, run: Run) -> dict[str, Run]:
    """Return variants of *run*: with the defaults and, if these use packed weights, also without packed weights."""
    ways: dict[str, Callable[[], AbstractContextManager[None]]] = {"promptscope": nullcontext}
    if uses_prepacked(model):
        ways["promptscope, weights as they are"] = partial(execution, prepacked=False)
    return {name: partial(_run_in, way, run) for name, way in ways.items()}


def _run_in(way: Callable[[], AbstractContextManager[None]], run: Run) -> Outcome:
    with way():
        return run()


def pack_weights(model: HookedModel) -> dict[str, float]:
    """Let promptscope pack the weights of *model* and return seconds and MB; an empty result if it does not pack them.

    Weights are packed once per model. The check whether it packs them runs before, and is not part of the time.
    """
    if not uses_prepacked(model):
        return {}

    def pack() -> None:
        with kernel(model):
            pass

    (_, seconds), mb = peak_mb(lambda: cpu_clock(pack), str(model.device))
    return {"prepack_seconds": seconds} | ({} if mb is None else {"prepack_mb": mb})
