"""What an account is about: prompt, model, task and effect; and the settings of how much is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from promptscope.causal.effect import PromptEffect
from promptscope.causal.inputs import Inputs
from promptscope.checks import checked
from promptscope.models import HookedModel
from promptscope.prompts import Prompt
from promptscope.tasks import Task


@checked(limit=1, batch_size=1, few=1, layers=1, n_random=0, shots=0, seed=0)
@dataclass(frozen=True)
class Settings:
    """How many inputs, layers and random prompts `ps.explain` uses.

    - `split`: the split on which everything is measured; `fit`: that on which directions and thresholds are fitted,
      which must be another;
    - `limit`: number of inputs; parts that run many variants use the first `few` of them only;
    - `layers`: how many layers are tested, from the first to the last in equal steps;
    - `exact`: patch every head exactly, `restore` over all inputs and `destroy` over `few` (see `ps.causal.patch`);
      False ranks heads by attribution patching alone, which is faster and a first-order estimate;
    - `n_random`: number of random prompts, and of random sets of heads, tokens and neurons, that serve as nulls;
    - `wanted`: share of the effect, in (0, 1], that a "smallest sufficient set" must have;
    - `shots`: number of few-shot examples that the prompt is compared with;
    - `batch_size`: inputs per forward pass; it does not change results. `seed`: of all random draws.

    `ps.account.QUICK` takes fewer of everything and no exact patching.

    >>> Settings(limit=16, few=8).seed
    0
    """

    split: str = "test"
    fit: str = "train"
    limit: int = 64
    few: int = 24
    layers: int = 8
    exact: bool = True
    n_random: int = 3
    wanted: float = 0.8
    shots: int = 4
    batch_size: int = 16
    seed: int = 0


QUICK = Settings(few=8, layers=5, exact=False, n_random=2, shots=2)
"""Settings for a faster account: no exact patching, and fewer inputs, layers and random prompts."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A prompt on a model and a task, with its effect and the prompts it is compared with: `words` and `others`."""

    model: HookedModel
    prompt: Prompt
    task: Task
    effect: PromptEffect
    fitted: Inputs | None
    settings: Settings
    words: Mapping[str, Prompt] = field(default_factory=dict)
    others: Mapping[str, Prompt] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    untrained: Prompt | None = None

    @property
    def why_not_fitted(self) -> str:
        """Say why there are no inputs to fit on."""
        if self.settings.fit == self.settings.split:
            return (
                f"both would come from the split {self.settings.split!r} (settings.fit must differ from settings.split)"
            )
        return f"the task has no split {self.settings.fit!r}"

    @property
    def small(self) -> PromptEffect:
        """The effect on the first `few` inputs."""
        return self.effect.first(self.settings.few)

    def layers(self, stack: str | None = None) -> list[int]:
        """Return the layers that are tested, of the main stack or of *stack*: first to last in equal steps."""
        n = self.model.layers[stack or self.model.family.stacks[0]]
        return sorted(set(np.linspace(0, n - 1, min(n, self.settings.layers)).round().astype(int).tolist()))
