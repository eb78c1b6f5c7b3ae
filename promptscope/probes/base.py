"""The base class of probes: what a probe captures, and what it computes from the captures."""

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
    """A measurement: which activations it captures, in which forward passes, and how a result is computed from them.

    A subclass defines `captures` and `compute`, and can set these class attributes:

    - `name`: its name in results and in `ps.probe`; `title`: that in figures;
    - `conditions`: the pass that a capture is taken from: `"plain"` (without a prompt), `"prompted"` (one pass with
      each prompt) or `"both"`; one word for all captures, or a dict by the capture's name. A pass, or a capture, that
      several probes need is run once;
    - `positions`: where text begins in the plain pass: `"own"`, at 0 (the model as it is), or `"shared"`, at k, the
      number of prompt positions, as after the prompt;
    - `labelled`: True if inputs must end with their labels, so that the loss of these can be captured.

    A complete example, which `ps.probe(model, prompts, task, NormGrowth())` runs:

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
        """Return what is kept of the forward passes: name -> capture, with names of your own."""

    @abstractmethod
    def compute(self, entries: Entries) -> ProbeResult:
        """Compute the result from the captures in *entries*.

        Read them part by part: a part has the inputs of one shard, so that memory does not grow with their number.
        """

    def edits(self) -> Mapping[str, Sequence[Write]]:
        """Return edits of activations: name -> writes. All captures are taken again under each edit; by default none.

        The store keeps captures under edits like all others; `Entries.written` reads them.
        """
        return {}

    def ready(self, model: HookedModel, task: Task | None, prompts: Mapping[str, Prompt]) -> Probe:
        """Return the probe that runs on this model, task and prompts; by default the probe itself.

        It is called first. Raise ProbeError if the probe cannot run on them. If `captures` needs to know something
        about them, return a copy of the probe that has it.
        """
        return self

    def check(self, examples: Sequence[Encoded], prompts: Sequence[str]) -> None:  # noqa: B027 (nothing to check is fine)
        """Raise ProbeError if the probe cannot use these inputs or prompts; called before any forward pass."""

    def inputs(self, examples: Sequence[Encoded]) -> Sequence[Encoded]:
        """Return the inputs that the probe runs on, made from the task's; by default these."""
        return examples

    def extra_inputs(self, examples: Sequence[Encoded]) -> Sequence[Encoded]:
        """Return further inputs for the same captures, such as single words to compare with: by default none.

        They run in passes of their own, so that the probe still shares those over `inputs`; see `Entries.extra`.
        """
        return ()

    def parameters(self) -> dict[str, Any]:
        """Return the settings that the result names in its provenance."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def condition(self, capture: str) -> Condition:
        """Return in which passes a capture is taken."""
        return self.conditions if isinstance(self.conditions, str) else self.conditions[capture]
