"""What an account is about, and how much of it is measured."""

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
    """How much is measured.

    `limit` inputs; those parts that run many variants take the first `few` of them, and `layers` of the layers, evenly.
    `exact`: patch every head exactly, restoring over all inputs and destroying over `few`; otherwise attribution
    patching alone says which matter. `wanted` is the share that a smallest set must carry, `shots` the number of
    few-shot examples.

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
"""Without exact patching, and less of all else: wider intervals, the same definitions."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A prompt on a model and a task, its effect, and the prompts that it is compared with: `words` and `others`."""

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
            return f"both are to be of the split {self.settings.split!r} (settings.fit, settings.split)"
        return f"the task has no split {self.settings.fit!r}"

    @property
    def small(self) -> PromptEffect:
        """The effect on the first `few` inputs."""
        return self.effect.first(self.settings.few)

    def layers(self, stack: str | None = None) -> list[int]:
        """Return the layers that are looked at, of the main stack or another: the first, the last, evenly between."""
        n = self.model.layers[stack or self.model.family.stacks[0]]
        return sorted(set(np.linspace(0, n - 1, min(n, self.settings.layers)).round().astype(int).tolist()))
