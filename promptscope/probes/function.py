"""Probes made from a function of a few lines."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.models import HookedModel
from promptscope.probes.base import Condition, Probe
from promptscope.probes.entries import Entries, Shard
from promptscope.probes.result import ProbeResult
from promptscope.prompts import Prompt
from promptscope.store import Capture, View
from promptscope.store.capture import identity_of
from promptscope.tasks import Task

Reduction = Callable[[Tensor, View], Tensor]


@dataclass(frozen=True)
class FunctionCapture(Capture):
    """What a function returns at a hook point; the function's code is part of its key in the store."""

    function: Reduction

    def reduce(self, x: Tensor, layer: int, view: View) -> Tensor:
        """Call the function."""
        return self.function(x, view)

    def spec(self) -> dict[str, Any]:
        """Return site and code."""
        name = getattr(self.function, "__qualname__", repr(self.function))
        return {"capture": name, "version": 1, "site": self.site, "code": identity_of(self.function, f"probe {name}")}


class FunctionProbe(Probe):
    """The probe that `probe_function` makes of a function.

    >>> import promptscope as ps
    >>> @ps.probe_function("hook_resid_post")
    ... def norm(x, view):
    ...     return view.at(x, view.answer).norm(dim=-1)
    >>> isinstance(norm, FunctionProbe), norm.name
    (True, 'norm')
    """

    def __init__(
        self,
        function: Reduction,
        site: str,
        name: str,
        dims: Sequence[str],
        conditions: Condition,
        about: dict[str, str],
    ) -> None:
        self.function = function
        self.site = site
        self.name = name
        self.dims = tuple(dims)
        self.conditions = conditions
        self.title = about["title"]
        self.about = about

    def captures(self) -> dict[str, Capture]:
        """Keep what the function returns."""
        return {"kept": FunctionCapture(self.site, self.function)}

    def parameters(self) -> dict[str, Any]:
        """Return the arguments of the decorator."""
        return {"site": self.site, "dims": list(self.dims), "conditions": self.conditions}

    def ready(self, model: HookedModel, task: Task | None, prompts: Mapping[str, Prompt]) -> Probe:
        """Return the probe that runs on the model without a prompt if no prompts are given."""
        if prompts or self.conditions != "prompted":
            return self
        plain = copy.copy(self)
        plain.conditions = "plain"
        return plain

    def compute(self, entries: Entries) -> ProbeResult:
        """Average over inputs; with `both`, average the change that the prompt makes on each input."""
        values: Mapping[str, np.ndarray] | np.ndarray
        if self.conditions == "plain":
            values = self._join(entries.plain("kept"))
        elif self.conditions == "prompted":
            values = {prompt: self._join(entries.prompted("kept", prompt)) for prompt in entries.prompts}
        else:
            values = {
                prompt: entries.paired("kept", prompt, lambda a, b: self._numbers(a) - self._numbers(b))
                for prompt in entries.prompts
            }
        return entries.result(values, dims=("layer", *self.dims), **self.about)

    def _join(self, parts: Iterator[Shard]) -> np.ndarray:
        return np.concatenate([self._numbers(part) for part in parts])

    def _numbers(self, part: Shard) -> np.ndarray:
        values = part["values"]
        if values.ndim - 2 != len(self.dims):
            raise ProbeError(
                f"probe {self.name!r}: the function returns {values.ndim - 2} dimensions besides the "
                f"inputs, of shape {values.shape[2:]}, and dims names {len(self.dims)} ({self.dims}): "
                "name each one, such as dims=('head',)"
            )
        return values


@checked()
def probe_function(
    site: str,
    *,
    name: str | None = None,
    dims: Sequence[str] = (),
    conditions: Condition = "prompted",
    units: str = "number",
    direction: str = "as the function says",
    title: str = "",
) -> Callable[[Reduction], FunctionProbe]:
    """Make a probe from a function `f(x, view)`, which reduces the activation at *site* to one row for each input.

    `x` (B, k + n, ...) holds the activation at k prompt positions, then at n text positions, right-padded; `view` says
    which are which (`ps.probes.View`). The function returns a tensor (B,), or (B, ...) with one name in *dims* for each
    further dimension. It runs inside the hook, without gradients, and only what it returns is kept. Its code is part of
    the key in the store, so that a changed function is computed again.

    Args:
        site: hook point; without a layer number, such as `"hook_resid_post"`, it means every layer.
        name: name of the probe; by default the function's.
        dims: names of the dimensions of what the function returns, without the first.
        conditions: `"prompted"` (with each prompt, or without one if none is given), `"plain"` (without a prompt), or
            `"both"`: the difference that each prompt makes, `f(with) - f(without)`, for each input.
        units, direction, title: what the numbers are, which direction is more, and the title of figures.

    Raises:
        ProbeError: the decorated object is not a function, or *site* or *conditions* is unknown.

    >>> import promptscope as ps
    >>> @ps.probe_function("hook_resid_post", units="norm", direction="higher = longer")
    ... def norm_at_answer(x, view):
    ...     return view.at(x, view.answer).norm(dim=-1)
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("capital_en")
    >>> result = ps.probe(model, ps.SoftPrompt(4), task, norm_at_answer, limit=3)["norm_at_answer"]
    >>> result.dims
    ('prompt', 'layer')
    """
    if not isinstance(site, str):
        raise ProbeError(
            "probe_function needs the name of a hook point, such as "
            f"@ps.probe_function('hook_resid_post'), got {site!r}"
        )
    if conditions not in ("plain", "prompted", "both"):
        raise ProbeError(f"conditions must be 'plain', 'prompted' or 'both', got {conditions!r}")

    def decorate(function: Reduction) -> FunctionProbe:
        if not callable(function):
            raise ProbeError(f"@ps.probe_function({site!r}) must decorate a function f(x, view), got {function!r}")
        called = str(name or getattr(function, "__name__", ""))
        about = {"units": units, "direction": direction, "title": title or called.replace("_", " ")}
        return FunctionProbe(function, site, called, dims, conditions, about)

    return decorate
