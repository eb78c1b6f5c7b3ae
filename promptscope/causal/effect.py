"""What a prompt does to the answers: the effect that every other measurement is a share of."""

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
    """Answers of the plain and of the prompted run, over the same inputs.

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
        """Effect on each input: log-probability of the gold label with the prompt less that without, in nats."""
        return self.prompted.gold - self.plain.gold

    @property
    def size(self) -> Effect:
        """Mean effect with its interval; says whether shares of it are defined."""
        return effect_of(self.gold)

    def first(self, n: int) -> PromptEffect:
        """Return the effect on the first *n* inputs alone."""
        inputs = replace(self.inputs, examples=self.inputs.examples[:n])
        return replace(self, inputs=inputs, plain=self.plain.first(n), prompted=self.prompted.first(n))

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row per quantity: its mean without and with the prompt, the difference with interval and p-value."""
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
    """Return what *prompt* does to the model's answers on a task's inputs, compared with the run without it.

    `effect(x) = log p(gold | x, prompt) - log p(gold | x)` in nats; with it the logit difference of the gold label to
    the best other one, and accuracy. Higher = the prompt helps more. `positions="shared"`: in the run without prompt,
    text keeps the positions that it has with it, so that a shift of positions is not taken for the prompt's work;
    `"own"`: it begins at 0. The two differ on models with absolute positions only.

    Raises:
        ProbeError: unknown positions.
        PromptError: the prompt does not fit the model. TaskError: the task cannot be encoded.

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
    """Do as `effect` does on inputs that are encoded already."""
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
    """Return what the model answers to *inputs* under one condition.

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
