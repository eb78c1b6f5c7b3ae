"""A probe from a function of a few lines."""

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
    """What a function keeps of a hook point; keyed by the function's code."""

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
        """Return what the decorator was given."""
        return {"site": self.site, "dims": list(self.dims), "conditions": self.conditions}

    def ready(self, model: HookedModel, task: Task | None, prompts: Mapping[str, Prompt]) -> Probe:
        """Run on the plain model where there are no prompts."""
        if prompts or self.conditions != "prompted":
            return self
        plain = copy.copy(self)
        plain.conditions = "plain"
        return plain

    def compute(self, entries: Entries) -> ProbeResult:
        """Average over inputs; under `both`, the change that the prompt makes to each input."""
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
                f"{self.name} keeps {values.ndim - 2} numbers' dimensions for each input and layer, shape "
                f"{values.shape[2:]}, and names {len(self.dims)} ({self.dims}): name each, such as dims=('head',)"
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
    """Make a probe of a function `f(x, view)` that reduces the activation at *site* to one row for each input.

    `x (B, ...)` is laid out as `[k prompt slots | text | padding]`, and `view` says where these are (`ps.probes.View`).
    The function returns `(B,)`, or `(B, ...)` with a name in *dims* for each further dimension. It runs inside the
    hook, without gradients; nothing else of the activation is kept. Its code is part of the key in the store.

    Args:
        site: hook point; without its layer, `"hook_resid_post"` means all layers.
        name: of the probe; the function's own by default.
        dims: names of the dimensions after the first of what the function returns.
        conditions: `prompted` (under each prompt; on the plain model where none is given), `plain` (without a prompt),
            or `both`: the change that each prompt makes, `f(with) - f(without)`, input by input.
        units, direction, title: what the result says of its numbers.

    Raises:
        ProbeError: what is decorated is no function, or conditions are unknown.

    >>> @probe_function("hook_resid_post", units="norm", direction="higher = longer")
    ... def norm_at_answer(x, view):
    ...     return view.at(x, view.answer).norm(dim=-1)
    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("capital_en")
    >>> result = ps.probe(model, ps.SoftPrompt(4), task, norm_at_answer, limit=3)["norm_at_answer"]
    >>> result.dims
    ('prompt', 'layer')
    """
    if not isinstance(site, str):
        raise ProbeError(
            f"probe_function takes the hook point to read, @ps.probe_function('hook_resid_post'), not {site!r}"
        )
    if conditions not in ("plain", "prompted", "both"):
        raise ProbeError(f"conditions must be 'plain', 'prompted' or 'both', not {conditions!r}")

    def decorate(function: Reduction) -> FunctionProbe:
        if not callable(function):
            raise ProbeError(f"@ps.probe_function({site!r}) decorates a function f(x, view), not {function!r}")
        called = str(name or getattr(function, "__name__", ""))
        about = {"units": units, "direction": direction, "title": title or called.replace("_", " ")}
        return FunctionProbe(function, site, called, dims, conditions, about)

    return decorate
