"""Probes that edit activations, and measure how the loss changes."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from promptscope.errors import ProbeError
from promptscope.models import HookedModel
from promptscope.probes.base import Condition, Probe
from promptscope.probes.entries import Entries, Shard
from promptscope.probes.plan import OUTPUT
from promptscope.probes.result import ProbeResult
from promptscope.probes.write import Write
from promptscope.prompts import Prompt
from promptscope.statistics import p_value_of_draws
from promptscope.store import Capture, View
from promptscope.tasks import IGNORED, Encoded, Task

Edit = Write | Sequence[Write]


@dataclass(frozen=True)
class TargetLoss(Capture):
    """Cross-entropy of an input's target tokens (label and end token), as their mean, in nats: (B,).

    >>> TargetLoss().site  # what the bridge returns, no hook point inside
    'logits'
    """

    site: str = OUTPUT

    def reduce(self, x: Float[Tensor, "B t V"], layer: int, view: View) -> Float[Tensor, B]:
        """Sum over the targets of each input, divided by their number."""
        assert view.targets is not None
        asked = view.targets != IGNORED
        logits = x[:, x.shape[1] - asked.shape[1] :][asked]
        each = cross_entropy(
            logits.to(torch.promote_types(x.dtype, torch.float32)), view.targets[asked], reduction="none"
        )
        return each.new_zeros(len(x)).index_add(0, asked.nonzero()[:, 0], each) / asked.sum(dim=1)


class WritingProbe(Probe):
    """A probe that edits activations, and measures by how much the loss changes.

    The result is `loss(edited) - loss` in nats per target token. A subclass defines `writes()`: name -> one `Write`, or
    several that are applied together. It can also define `nulls()`: name -> random edits that should matter less, such
    as random directions of the same norm, or other heads of the layer. Every edit is run with every prompt (without
    prompts: on the model alone), over inputs with their labels.

    Positive = the edit makes the labels less likely. Dimensions: prompt (if there are any), write. `result.data` also
    has `loss`, without an edit; with nulls also `null` (..., write, draw), the change under each of R draws, and the
    two-sided `p_value = (1 + #{|draw| >= |change|}) / (1 + R)`.

    Raises:
        ProbeError: inputs without labels, or `writes()` returns nothing.

    Reference: Phipson & Smyth 2010 for the p-value.

    A complete example, with `ZeroHead` as in `Write`; `ps.probe(model, prompts, task, WithoutHead())` runs it:

    ```python
    class WithoutHead(WritingProbe):
        name = "without_head"

        def writes(self):
            return {f"head {h}": ZeroHead("blocks.1.attn.hook_z", head=h) for h in range(4)}
    ```
    """

    labelled = True
    conditions: Condition = "prompted"

    @abstractmethod
    def writes(self) -> Mapping[str, Edit]:
        """Return the edits, by name."""

    def nulls(self) -> Mapping[str, Sequence[Edit]]:
        """Return, for names of `writes`, edits drawn at random as a null: the same number for each name."""
        return {}

    def captures(self) -> dict[str, Capture]:
        """Keep one loss for each input."""
        return {"loss": TargetLoss()}

    def edits(self) -> dict[str, Sequence[Write]]:
        """Return the writes and the draws of their nulls."""
        found: dict[str, Sequence[Write]] = {name: _together(edit) for name, edit in self.writes().items()}
        if not found:
            raise ProbeError(
                f"writes() of probe {self.name!r} must return at least one edit, and returned an empty dict"
            )
        for name, draws in self.nulls().items():
            found |= {f"{name} null {r}": _together(edit) for r, edit in enumerate(draws)}
        return found

    def ready(self, model: HookedModel, task: Task | None, prompts: Mapping[str, Prompt]) -> Probe:
        """Return the probe that runs on the model without a prompt if no prompts are given."""
        if prompts:
            return self
        plain = copy.copy(self)
        plain.conditions = "plain"
        return plain

    def parameters(self) -> dict[str, object]:
        """Return the settings, without the passes it runs in."""
        return {name: value for name, value in super().parameters().items() if name != "conditions"}

    def check(self, examples: Sequence[Encoded], prompts: Sequence[str]) -> None:
        """Raise ProbeError unless all inputs have labels."""
        without = [example.id for example in examples if all(target == IGNORED for target in example.targets)]
        if without:
            raise ProbeError(
                f"probe {self.name!r} measures the loss of labels, and {len(without)} of {len(examples)} inputs have "
                f"none ({without[0]!r}): give task=ps.load_task(...), or records encoded with their labels"
            )

    def compute(self, entries: Entries) -> ProbeResult:
        """Subtract the loss without the edit, for each input."""
        names, nulls = list(self.writes()), self.nulls()
        prompts: Sequence[str | None] = entries.prompts or [None]
        base = {p: _read(entries.plain("loss") if p is None else entries.prompted("loss", p)) for p in prompts}

        def change(prompt: str | None, edit: str) -> Float[np.ndarray, X]:
            return _read(entries.written("loss", prompt, edit)) - base[prompt]

        changes = {str(p): np.stack([change(p, name) for name in names], axis=1) for p in prompts}
        result = entries.result(
            changes if entries.prompts else changes["None"],
            dims=("write",),
            coords={"write": names},
            units="nats per target token",
            direction="positive = the edit makes the labels less likely",
        )
        lead = ("prompt",) if entries.prompts else ()
        loss = np.array([base[p].mean() for p in prompts])
        result.data["loss"] = (lead, loss if lead else loss[0])
        if nulls:
            drawn = [
                [[change(p, f"{n} null {r}").mean() for r in range(len(nulls[n]))] for n in nulls] for p in prompts
            ]
            _add_nulls(result, list(nulls), np.array(drawn), lead)
        return result


def _add_nulls(result: ProbeResult, names: list[str], drawn: Float[np.ndarray, "prompt null R"], lead: tuple) -> None:
    """Add the draws and the p-values to the result; NaN for writes without nulls."""
    writes = result.data["write"].values.tolist()
    null = np.full((len(drawn), len(writes), drawn.shape[-1]), np.nan)
    p_values = np.full(null.shape[:2], np.nan)
    observed = np.abs(result.values.values).reshape(p_values.shape)
    for j, name in enumerate(names):
        column = writes.index(name)
        null[:, column] = drawn[:, j]
        for row, draws in enumerate(drawn[:, j]):
            p_values[row, column] = p_value_of_draws(float(observed[row, column]), np.abs(draws))
    result.data["null"] = ((*lead, "write", "draw"), null if lead else null[0])
    result.data["p_value"] = ((*lead, "write"), p_values if lead else p_values[0])


def _together(edit: Edit) -> tuple[Write, ...]:
    return (edit,) if isinstance(edit, Write) else tuple(edit)


def _read(parts: Iterator[Shard]) -> Float[np.ndarray, X]:
    return np.concatenate([part["values"][:, 0] for part in parts]).astype(np.float64)
