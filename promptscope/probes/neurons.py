"""Activations of FFN neurons with a prompt, which ON scores compare."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.models import HookedModel
from promptscope.probes.base import Probe
from promptscope.probes.entries import Entries, Shard
from promptscope.probes.joint import SummedCapture
from promptscope.probes.result import ProbeResult
from promptscope.prompts import DeepPrompt, Prompt
from promptscope.store import Capture, View
from promptscope.tasks import Encoded, Task

State = Literal["pre", "post", "binary"]
Place = Literal["separator", "prompt", "last"]
_SITES = {"pre": "mlp.hook_pre", "post": "mlp.hook_post", "binary": "mlp.hook_post"}


@dataclass(frozen=True)
class FirstTokenNeurons(Capture):
    """Neurons at the first text token: (B, 1, F)."""

    site: str = "mlp.hook_post"

    def reduce(self, x: Float[Tensor, "B T F"], layer: int, view: View) -> Float[Tensor, "B 1 F"]:
        """Select the position after the prompt."""
        return view.without_prompt(x)[:, :1]


@dataclass(frozen=True)
class PromptNeurons(Capture):
    """Neurons at the k prompt positions: (B, k, F)."""

    site: str = "mlp.hook_post"

    def reduce(self, x: Float[Tensor, "B T F"], layer: int, view: View) -> Float[Tensor, "B k F"]:
        """Drop the text."""
        return x[:, : view.k]


@dataclass(frozen=True)
class LastTokenNeurons(SummedCapture):
    """Neurons at the last token, summed over inputs; with `active`, the number of inputs that activate them."""

    site: str = "mlp.hook_post"
    active: bool = False
    ragged_dim: ClassVar[int | None] = None

    def reduce(self, x: Float[Tensor, "B T F"], layer: int, view: View) -> Float[Tensor, "B 1 F"]:
        """Select the last real position."""
        picked = view.at(x, view.lengths - 1)[:, None]
        return (picked > 0).float() if self.active else picked.float()


class NeuronStates(Probe):
    """Activations of the FFN neurons of each layer with a prompt; `on_scores` compares those of several tasks.

    Args:
        state: `"post"` (default), after the non-linearity: `a = f(W x)`, in gated FFNs `f(gate) * up`; `"pre"`, before
            it: `W x`, in gated FFNs the gate; `"binary"`, whether a neuron is active: `post > 0`. The paper does not
            say which it compares; its figures suggest `"post"`.
        at: `"separator"` (default), at the token `</s>` of the input `{prompt, </s>}`, so that a state belongs to a
            task and not to an input; `"prompt"`, at the k prompt positions of that input, for input-level prompts only
            (nothing attends to activations at a deep prompt's positions); `"last"`, at the last token of the task's
            inputs, as a mean over inputs (for `"binary"`, the share of inputs that activate a neuron).
        separator: token id to use instead of `</s>`, by default the special token that ends every input of the task.

    Dimensions: prompt, layer, position, neuron. Units: the model's own, or a share in [0, 1] for `"binary"`; higher =
    more active. Only sums over inputs are stored.

    Raises:
        ProbeError: no prompt, a deep prompt with `at="prompt"`, inputs that do not all end with the same special token,
            or an unknown *state* or *at*.

    Reference: *Toward the explainable soft prompts*, section 3.3 and eq. 7; Su et al. 2022.

    >>> NeuronStates().name, NeuronStates(state="binary", at="last").name
    ('neuron_states', 'neuron_states_binary_last')
    """

    conditions = "prompted"

    @checked(separator=0)
    def __init__(
        self, state: State = "post", at: Place = "separator", separator: int | None = None, name: str | None = None
    ) -> None:
        if state not in _SITES:
            raise ProbeError(f"state must be 'pre', 'post' or 'binary', got {state!r}")
        if at not in ("separator", "prompt", "last"):
            raise ProbeError(f"at must be 'separator', 'prompt' or 'last', got {at!r}")
        self.state = state
        self.at = at
        self.separator = separator
        default = [part for part, usual in ((state, "post"), (at, "separator")) if part != usual]
        self.name = name or "_".join(["neuron_states", *default])
        self.title = f"FFN neurons, {state}, at {at}"

    def ready(self, model: HookedModel, task: Task | None, prompts: Mapping[str, Prompt]) -> Probe:
        """Raise ProbeError for deep prompts with `at="prompt"`: they have no activations of their own."""
        deep = [name for name, prompt in prompts.items() if isinstance(prompt, DeepPrompt)]
        if self.at == "prompt" and deep:
            raise ProbeError(
                f"at='prompt' needs input-level prompts, and {deep[0]!r} is a deep prompt, whose keys "
                "and values pass through no FFN: use at='separator' or at='last'"
            )
        return self

    def captures(self) -> dict[str, Capture]:
        """Keep one state per input; of many inputs, their sum."""
        site = _SITES[self.state]
        if self.at == "last":
            return {"neurons": LastTokenNeurons(site, active=self.state == "binary")}
        return {"neurons": FirstTokenNeurons(site) if self.at == "separator" else PromptNeurons(site)}

    def inputs(self, examples: Sequence[Encoded]) -> Sequence[Encoded]:
        """Return the separator alone, or the task's inputs."""
        if self.at == "last" or not examples:
            return examples
        token = separator_of(examples) if self.separator is None else self.separator
        first = examples[0]
        behind = first.label_start >= len(first.input_ids)  # a causal model's label comes after its input
        decoder = None if first.decoder_input_ids is None else first.decoder_input_ids[:1]
        targets = [-100]
        return [Encoded("separator", [token], ["special"], [True], targets, decoder, int(behind), False)]

    def compute(self, entries: Entries) -> ProbeResult:
        """Average the sums."""
        states = {prompt: self._mean(entries.prompted("neurons", prompt)) for prompt in entries.prompts}
        sizes = {state.shape[1] for state in states.values()}
        if len(sizes) > 1:
            raise ProbeError(
                f"at='prompt' compares prompts of one length, got lengths {sorted(sizes)}: "
                "use at='separator' or at='last'"
            )
        values = np.stack(list(states.values()))  # (prompt, layer, position, neuron)
        curve = values.mean(axis=(2, 3), dtype=np.float64)
        dims = ("prompt", "layer", "position", "neuron")
        unknown = np.full_like(curve, np.nan)
        data = xr.Dataset(
            {
                "values": (dims, values),
                "curve": (dims[:2], curve),
                "curve_low": (dims[:2], unknown),
                "curve_high": (dims[:2], unknown),
            },
            coords={
                "prompt": list(states),
                "layer": list(entries.layers("neurons")),
                "position": np.arange(values.shape[2]),
                "neuron": np.arange(values.shape[3]),
            },
        )
        binary = self.state == "binary"
        return ProbeResult(
            data=data,
            units="share of inputs" if binary else "activation",
            direction="higher = active in more inputs" if binary else "higher = more active",
            range=(0.0, 1.0) if binary else (None, None),
            n_examples=len(entries.examples),
            **entries.about(),
        )

    def _mean(self, parts: Iterable[Shard]) -> Float[np.ndarray, "L P F"]:
        total: np.ndarray | float = 0.0
        n = 0
        for part in parts:
            values = part["values"] > 0 if self.state == "binary" and self.at != "last" else part["values"]
            total = total + values.swapaxes(0, 1).sum(axis=1, dtype=np.float64)
            n += len(part["lengths"])
        return np.asarray(total / n, dtype=np.float32)


def separator_of(examples: Sequence[Encoded]) -> int:
    """Return the special token that ends all *examples*.

    Raises:
        ProbeError: they end with different tokens, or with one that is not special.
    """
    ends = {(example.input_ids[-1], example.special[-1]) for example in examples}
    if len(ends) > 1 or not next(iter(ends))[1]:
        raise ProbeError(
            "at='separator' and at='prompt' need inputs that all end with the same special token, "
            "and these do not: end the template's source with {sep}, give "
            "separator=tokenizer.eos_token_id, or use at='last'"
        )
    return next(iter(ends))[0]
