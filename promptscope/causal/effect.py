"""The effect of a prompt on the answers, of which the other causal measurements are shares."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from promptscope.causal.inputs import Answers, Inputs, make_inputs
from promptscope.causal.running import Condition, in_turn, plain, run
from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.inference.finite import refuse_nan
from promptscope.models import HookedModel
from promptscope.probes import Saved
from promptscope.prompts import Prompt
from promptscope.statistics import Effect, effect_of, mean_interval, paired_permutation_test
from promptscope.tasks import Task

Positions = Literal["shared", "own"]


@dataclass(frozen=True, eq=False)
class PromptEffect(Saved):
    """The answers without and with a prompt, over the same X inputs.

    `plain` and `prompted` are the `Answers` of the run without and with the prompt; `positions` says where text begins
    in the run without it, see `ps.causal.effect`.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> found = ps.causal.effect(model, ps.SoftPrompt(2).bind(model), task, limit=4)
    >>> np.allclose(found.gold, found.prompted.gold - found.plain.gold), found.size.n
    (True, 4)
    """

    inputs: Inputs
    plain: Answers
    prompted: Answers
    positions: str
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def gold(self) -> Float[np.ndarray, X]:
        """Effect on each input, (X,): `log p(gold | x, prompt) - log p(gold | x)`, nats; above 0 = the prompt helps."""
        return self.prompted.gold - self.plain.gold

    @property
    def size(self) -> Effect:
        """Mean effect in nats with its 95 % interval over inputs; `size.is_clear`: are shares of it defined?"""
        return effect_of(self.gold)

    def first(self, n: int) -> PromptEffect:
        """Return the effect on the first *n* inputs alone."""
        inputs = replace(self.inputs, examples=self.inputs.examples[:n])
        return replace(self, inputs=inputs, plain=self.plain.first(n), prompted=self.prompted.first(n))

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row for each quantity: log-probability, logit difference, accuracy.

        Columns: mean `without` and `with` the prompt, their difference `effect` with its 95 % interval `low`, `high`
        over inputs, and the `p_value` of a paired permutation test.
        """
        rows = []
        for name, units in QUANTITIES.items():
            before, after = getattr(self.plain, name), getattr(self.prompted, name)
            if not np.isfinite(before).all():
                continue
            difference = after - before
            low, high = mean_interval(difference)
            _, p = paired_permutation_test(after, before)
            rows.append(
                (name, units, before.mean(), after.mean(), difference.mean(), float(low), float(high), float(p))
            )
        columns = ["quantity", "units", "without", "with", "effect", "low", "high", "p_value"]
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self) -> str:
        size = self.size
        clear = "clear" if size.is_clear else "not clear: shares of it are undefined"
        return (
            f"PromptEffect on {self.inputs.task!r}: {size.mean:+.3f} nats [{size.low:+.3f}, {size.high:+.3f}] "
            f"over {size.n} inputs, {clear}"
        )


QUANTITIES = {"gold": "nats", "difference": "logits", "correct": "share of inputs"}
"""What is measured of an answer, and its units; higher is better in all."""


@checked(batch_size=1, limit=1)
@in_turn
def effect(
    model: HookedModel,
    prompt: Prompt,
    task: Task,
    split: str = "test",
    limit: int | None = 64,
    positions: Positions = "shared",
    batch_size: int = 16,
) -> PromptEffect:
    """Measure how *prompt* changes the model's answers to a task's inputs, compared with the run without it.

    `effect(x) = log p(gold | x, prompt) - log p(gold | x)` in nats, where gold is the right answer of input x. Higher =
    the prompt helps more. Also measured in both runs: the logit difference between the gold label and the best other
    one, and accuracy.

    Args:
        split, limit: the inputs: the first *limit* records of this split of the task (None: all).
        positions: where text begins in the run without the prompt. `"shared"`: at the position number it has after the
            prompt, so that a mere shift of position numbers does not count as an effect; `"own"`: at 0. This matters in
            models with absolute positions only.
        batch_size: inputs per forward pass; it does not change the result.

    Raises:
        ProbeError: unknown *positions*.
        PromptError: the prompt does not fit the model, or leaves no room for text.
        TaskError: no such split, or records that cannot be encoded.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> ps.causal.effect(model, ps.SoftPrompt(2).bind(model), task, limit=4).gold.shape
    (4,)
    """
    if positions not in ("shared", "own"):
        raise ProbeError(f"positions must be 'shared' or 'own', got {positions!r}")
    inputs = make_inputs(model, prompt, task, split, limit)
    return effect_on(model, prompt, inputs, positions, batch_size)


def effect_on(
    model: HookedModel, prompt: Prompt, inputs: Inputs, positions: str = "shared", batch_size: int = 16
) -> PromptEffect:
    """The same as `effect`, for inputs that are encoded already."""
    without = answers(model, inputs, plain(model, prompt, positions), batch_size)
    about = {
        "task": inputs.task,
        "split": inputs.split,
        "data_hash": inputs.data_hash,
        "prompt": prompt.content_hash(),
        "positions": positions,
    }
    return PromptEffect(inputs, without, answers(model, inputs, Condition(prompt), batch_size), positions, about)


@checked(batch_size=1)
@in_turn
@torch.no_grad()
def answers(model: HookedModel, inputs: Inputs, condition: Condition, batch_size: int = 16) -> Answers:
    """Return the model's answers to *inputs* under one condition: with a prompt, or without one.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> inputs = ps.causal.make_inputs(model, None, task, limit=4)
    >>> answers(model, inputs, Condition()).gold.shape  # without a prompt
    (4,)
    """
    read = np.empty((3, len(inputs)))
    for chosen, batch in inputs.batches(model, batch_size):
        logits, _ = run(model, batch, condition)
        refuse_nan(model, logits, [condition.prompt])
        read[:, chosen] = inputs.read(batch, logits)
    return Answers(*read)
