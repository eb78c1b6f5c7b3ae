"""The captures of one probe, from which it computes its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from promptscope.errors import ProbeError
from promptscope.models import HookedModel
from promptscope.probes.result import ProbeResult
from promptscope.store import Entry
from promptscope.tasks import Encoded, Task

Shard = dict[str, np.ndarray]


class Entries:
    """The captures of one probe, which `compute` reads from the store part by part.

    A part is a dict: `values (X, layer, ...)`, `lengths (X,)` and `special (X, n)`, with the inputs in the order of
    `examples`. Token dimensions are padded to the longest input of the part. `extra` holds the same of the
    probe's `extra_inputs`, if it has any.

    >>> import promptscope as ps
    >>> class FirstMean(ps.probes.Probe):
    ...     name = "first_mean"
    ...     def captures(self):
    ...         return {"mass": ps.probes.PromptMass()}
    ...     def compute(self, entries):
    ...         each = {}
    ...         for prompt in entries.prompts:  # (inputs, layer, head, n) -> (inputs, layer, head)
    ...             each[prompt] = np.concatenate([part["values"].mean(3) for part in entries.prompted("mass", prompt)])
    ...         return entries.result(each, dims=("layer", "head"))
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> ps.probe(model, {"mine": ps.SoftPrompt(2)}, task, FirstMean(), limit=2, progress=False)["first_mean"].dims
    ('prompt', 'layer', 'head')
    """

    def __init__(
        self,
        probe: Any,
        model: HookedModel,
        task: Task | None,
        examples: Sequence[Encoded],
        prompts: Sequence[str],
        plain: Mapping[tuple[str, str | None], Entry],
        prompted: Mapping[tuple[str, str], Entry],
        provenance: dict[str, Any],
        extra: Entries | None = None,
        written: Mapping[tuple[str, str | None, str], Entry] | None = None,
    ) -> None:
        self.probe = probe
        self.model = model
        self.task = task
        self.examples = examples
        self.prompts = tuple(prompts)
        self.provenance = provenance
        self.extra = extra
        self._plain = plain
        self._prompted = prompted
        self._written = written or {}

    def plain(self, capture: str, positions_of: str | None = None) -> Iterator[Shard]:
        """Read a capture of the pass without a prompt; *positions_of* names the prompt whose positions its text has."""
        return self._entry(self._plain, (capture, positions_of), "(capture, prompt whose positions are shared)").read()

    def prompted(self, capture: str, prompt: str) -> Iterator[Shard]:
        """Read a capture of the pass with a prompt. Of a `PairedCapture`: what `compare` returned."""
        return self._entry(self._prompted, (capture, prompt), "(capture, prompt)").read()

    def written(self, capture: str, prompt: str | None, edit: str) -> Iterator[Shard]:
        """Read a capture of the pass under one of the probe's `edits`; *prompt* is None for the pass without one."""
        return self._entry(self._written, (capture, prompt, edit), "(capture, prompt, edit)").read()

    @property
    def edited(self) -> tuple[tuple[str, str | None, str], ...]:
        """All (capture, prompt, edit) that `written` can read."""
        return tuple(self._written)

    def unedited(self, capture: str, prompt: str | None) -> Iterator[Shard]:
        """Read a capture as `written` does, but from the pass without an edit."""
        return self.plain(capture) if prompt is None else self.prompted(capture, prompt)

    def pairs(self, capture: str, prompt: str) -> Iterator[tuple[Shard, Shard]]:
        """Read a capture of both passes, in pairs (with the prompt, without it)."""
        yield from zip(self.prompted(capture, prompt), self.plain(capture, positions_of=prompt), strict=True)

    def paired(self, capture: str, prompt: str, function: Callable[[Shard, Shard], np.ndarray]) -> np.ndarray:
        """Apply *function* to each pair of parts, and concatenate the results along the inputs."""
        return np.concatenate([function(prompted, plain) for prompted, plain in self.pairs(capture, prompt)])

    def layers(self, capture: str) -> tuple[int, ...]:
        """Return the layer of each entry of a capture's layer dimension (-1 for hook points outside the layers)."""
        for (name, _), entry in (*self._prompted.items(), *self._plain.items()):
            if name == capture:
                return entry.layers
        raise ProbeError(f"probe {self.probe.name!r} has no capture {capture!r}, only {list(self.probe.captures())}")

    def _entry(self, entries: Mapping[Any, Entry], key: tuple[Any, ...], what: str) -> Entry:
        if key not in entries:
            raise ProbeError(
                f"probe {self.probe.name!r} has no captures {what} = {key} of this pass. There are: "
                f"{list(entries) or 'none'}; captures() names them, and conditions says in which passes they are taken"
            )
        return entries[key]

    def result(
        self,
        per_example: Mapping[str, np.ndarray] | np.ndarray,
        dims: Sequence[str] = ("layer", "head"),
        **about: Any,
    ) -> ProbeResult:
        """Average numbers `(X, *dims)` over X inputs, with intervals, and add names and provenance.

        The arguments are those of `ProbeResult.from_examples`; layers and inputs are named by themselves.
        """
        coords = {"layer": self.layers(next(iter(self.probe.captures()))), **about.pop("coords", {})}
        coords.setdefault("example", [example.id for example in self.examples])
        return ProbeResult.from_examples(per_example, dims, coords, **(self.about() | about))

    def about(self) -> dict[str, Any]:
        """Return the fields of the result that do not depend on its numbers."""
        name = self.probe.name
        return {"name": name, "title": self.probe.title or name, "provenance": self.provenance}
