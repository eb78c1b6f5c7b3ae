"""A soft prompt that solves its task near a text that has nothing to do with it: a null for readings."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.checks import checked
from promptscope.errors import PromptError
from promptscope.models import HookedModel
from promptscope.prompts.initialisation import Initialisation, Text
from promptscope.prompts.soft import SoftPrompt


class WaywardPrompt(SoftPrompt):
    """k trainable embeddings that are held near the tokens of *text* while they learn a task.

    Training minimises `loss(P) + strength / k * sum_i |p_i - e_i|^2`, with p_i row i of `P [k, d_model]` and e_i the
    vector of the text's token i, which is repeated until every position has one (Khashabi et al. 2022; the mean over
    positions is that of their code). More *strength* (>= 0) = nearer to the text, worse at the task. It starts at the
    text, where the second term is zero, unless *init* says otherwise. The loss that runs report is the first term.

    What nearest tokens say of such a prompt is the text, whatever the task: a reading that says the same reads the
    place in embedding space (`ps.readings.Nulls(wayward=...)`).

    Raises:
        PromptError: a negative strength; a text longer than the prompt, of which only the beginning would count.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> prompt = ps.WaywardPrompt(2, text=" school summer").bind(model)
    >>> prompt.penalty(model).item()
    0.0
    """

    @checked(error=PromptError)
    def __init__(
        self,
        length: int,
        text: str,
        strength: int | float = 0.01,
        init: str | Initialisation | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(length, Text(text) if init is None else init, seed)
        if not 0 <= strength < float("inf"):
            raise PromptError(f"the strength that holds a wayward prompt must not be negative, got {strength}")
        self.text, self.strength = text, strength

    def settings(self) -> dict[str, Any]:
        """Length, text and strength."""
        return {**super().settings(), "text": self.text, "strength": self.strength}

    def penalty(self, model: HookedModel) -> Float[Tensor, ""]:
        """Return `strength / k * sum_i |p_i - e_i|^2`, with gradient."""
        self.bind(model)
        target = Text(self.text).vectors(model, self.length, torch.Generator()).to(self.embedding)
        return self.strength * (self.vectors() - target).square().sum() / self.length

    def _create(self, model: HookedModel, generator: torch.Generator) -> None:
        n = len(model.tokenizer(self.text, add_special_tokens=False)["input_ids"])
        if n > self.length:
            raise PromptError(
                f"the text {self.text!r} has {n} tokens, the prompt {self.length} positions: use a shorter text or a "
                "longer prompt"
            )
        super()._create(model, generator)
