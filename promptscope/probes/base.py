"""What every probe is: what it captures, and what it makes of the captures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from promptscope.models import HookedModel
from promptscope.probes.result import ProbeResult
from promptscope.prompts import Prompt
from promptscope.store import Capture
from promptscope.tasks import Encoded, Task

if TYPE_CHECKING:
    from promptscope.probes.entries import Entries
    from promptscope.probes.write import Write

Condition = Literal["plain", "prompted", "both"]


class Probe(ABC):
    """A measurement: which captures it needs, in which passes, and how they become a result.

    `conditions` says for each capture whether it is taken from the `plain` pass (no prompt), from the `prompted`
    passes (one per prompt) or from `both`; one word stands for all captures. Captures that several probes share,
    and passes, are run once. `positions` says where the plain pass puts the text: `own` at 0, 1, ... (the model as
    it is), or `shared` at k, k+1, ... (where it comes after the prompt). `labelled` says that inputs end with the
    label, so that its loss can be captured.

    A probe of your own, complete; `ps.probe(model, [NormGrowth()], prompts=..., task=...)` runs it:

    ```python
    @dataclass(frozen=True)
    class ResidualNorm(Capture):
        site: str = "hook_resid_post"

        def reduce(self, x, layer, view):  # x (B, k + n, d_model) -> (B,)
            norms = view.without_prompt(x).norm(dim=-1)
            return (norms * view.tokens).sum(dim=1) / view.lengths


    class NormGrowth(Probe):
        name = "norm_growth"

        def captures(self):
            return {"norm": ResidualNorm()}

        def compute(self, entries):
            def ratio(prompted, plain):  # (X, layer) each, X inputs
                return prompted["values"] / plain["values"]

            growth = {prompt: entries.paired("norm", prompt, ratio) for prompt in entries.prompts}
            direction = "above 1 = the prompt enlarges it"
            return entries.result(growth, dims=("layer",), units="ratio", direction=direction)
    ```
    """

    name: str
    title: str = ""
    conditions: Condition | Mapping[str, Condition] = "both"
    positions: Literal["own", "shared"] = "own"
    labelled: bool = False

    @abstractmethod
    def captures(self) -> Mapping[str, Capture]:
        """Return what is kept of the forward passes, by a name of the probe's own."""

    @abstractmethod
    def compute(self, entries: Entries) -> ProbeResult:
        """Make the result of what was captured. Streams: no more than a shard of captures in memory at a time."""

    def edits(self) -> Mapping[str, Sequence[Write]]:
        """Return edits of activations by name: all captures are taken again under each. By default none.

        Such passes are kept in the store like all others; see `Entries.written`.
        """
        return {}

    def ready(self, model: HookedModel, task: Task | None, prompts: Mapping[str, Prompt]) -> Probe:
        """Return the probe as it runs on this model, task and prompts: by default itself.

        Called first. Raise ProbeError where they cannot serve it; return a copy that knows what `captures` needs.
        """
        return self

    def check(self, examples: Sequence[Encoded], prompts: Sequence[str]) -> None:  # noqa: B027 (nothing to check is fine)
        """Raise ProbeError where inputs or prompts cannot serve this probe; called before any forward pass."""

    def inputs(self, examples: Sequence[Encoded]) -> Sequence[Encoded]:
        """Return the inputs that this probe runs on, made from the task's: by default the same."""
        return examples

    def extra_inputs(self, examples: Sequence[Encoded]) -> Sequence[Encoded]:
        """Return further inputs for the same captures, such as single words to compare with: by default none.

        They run in passes of their own, so that the probe still shares those over `inputs`; see `Entries.extra`.
        """
        return ()

    def parameters(self) -> dict[str, Any]:
        """Return the settings that the result should name."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def condition(self, capture: str) -> Condition:
        """Return in which passes a capture is taken."""
        return self.conditions if isinstance(self.conditions, str) else self.conditions[capture]
