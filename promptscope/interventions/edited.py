"""A prompt some of whose tokens are changed, whatever kind of prompt it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from promptscope.interventions.edits import edited, mixed
from promptscope.models import HookedModel, Placement
from promptscope.prompts import Prompt


class EditedPrompt(Prompt):
    """A prompt with some of its *tokens* edited: `ps.interventions.zero`, `mean`, `remove`, `cut` and `mix` make it.

    What it puts in front of a text is the edited placement of the whole prompt (`ps.interventions.edits`).
    """

    def __init__(self, prompt: Prompt, how: str, tokens: Sequence[int], other: Prompt | None = None) -> None:
        super().__init__(prompt.length - (len(tokens) if how == "remove" else 0), prompt.init, prompt.seed)
        self.prompt, self.other = prompt.plain(), other.plain() if other is not None else None
        self.how, self.tokens = how, tuple(tokens)
        self.strict = prompt.strict and other is None  # a mixture belongs to the models of neither alone
        same = ("model", "revision", "family", "embedding_hash", "weights_hash")
        self.provenance = {name: prompt.provenance[name] for name in same if name in prompt.provenance}
        self.provenance |= {how: list(tokens), "prompt": prompt.content_hash()}
        if other is not None:
            self.provenance["other"] = other.content_hash()

    def settings(self) -> dict[str, Any]:
        """The edit, and the settings of the whole prompt."""
        edit = {"how": self.how, "tokens": list(self.tokens)}
        return {**edit, "type": type(self.prompt).__name__, **self.prompt.settings()}

    def place(self, model: HookedModel) -> Placement:
        """Edit what the whole prompt puts in front of the text."""
        self.bind(model)
        placement = self.prompt.place(model)
        gone = [position in self.tokens for position in range(placement.length)]
        if self.other is not None:
            return mixed(placement, self.other.place(model), gone, model)
        return edited(placement, self.how, [not one for one in gone], model)

    def _create(self, model: HookedModel, generator: torch.Generator) -> None:
        raise AssertionError("only bound prompts are edited")

    def _check_fit(self, model: HookedModel) -> None:
        # Whether another model is allowed was decided by this prompt's own bind.
        for prompt in (self.prompt, self.other):
            if prompt is not None:
                prompt.bind(model, strict=False)
