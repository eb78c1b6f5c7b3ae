"""A prompt of any kind with some of its tokens edited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from promptscope.models import HookedModel, Placement
from promptscope.prompts.binding import made_for
from promptscope.prompts.edits import edited, mixed
from promptscope.prompts.prompt import Prompt


class EditedPrompt(Prompt):
    """A prompt with some of its tokens edited; `ps.interventions.zero`, `mean`, `remove`, `cut` and `mix` make it.

    Its `place(model)` is the placement of the whole prompt, with the vectors or keys and values of these tokens edited.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> edited = ps.interventions.remove(ps.SoftPrompt(length=4).bind(model), [1])
    >>> isinstance(edited, EditedPrompt), edited.place(model).length
    (True, 3)
    """

    def __init__(self, prompt: Prompt, how: str, tokens: Sequence[int], other: Prompt | None = None) -> None:
        super().__init__(prompt.length - (len(tokens) if how == "remove" else 0), prompt.init, prompt.seed)
        self.prompt, self.other = prompt, other
        self.how, self.tokens = how, tuple(tokens)

    @classmethod
    def of(cls, prompt: Prompt, how: str, tokens: Sequence[int], other: Prompt | None = None) -> EditedPrompt:
        """Return an edited copy of a bound *prompt*; *how* names the edit, *other* is the prompt to mix it with."""
        made = cls(prompt.plain(), how, tokens, other.plain() if other is not None else None)
        made.strict = prompt.strict and other is None
        made.provenance = made_for(prompt) | {how: list(tokens), "prompt": prompt.content_hash()}
        if other is not None:
            made.provenance["other"] = other.content_hash()
        return made

    @property
    def parts(self) -> dict[str, Prompt]:
        """The prompts from which it is made: the edited `prompt`, and the `other` that it is mixed with."""
        return {"prompt": self.prompt} if self.other is None else {"prompt": self.prompt, "other": self.other}

    def settings(self) -> dict[str, Any]:
        """Return the edit, and the type and settings of the prompts from which it is made."""
        parts = {name: {"type": type(part).__name__, "settings": part.settings()} for name, part in self.parts.items()}
        return {"how": self.how, "tokens": list(self.tokens), **parts}

    def place(self, model: HookedModel) -> Placement:
        """Return the edited placement of the whole prompt."""
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
        for part in self.parts.values():
            part.bind(model, strict=False)
