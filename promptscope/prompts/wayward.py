"""Wayward prompts: soft prompts that solve a task close to the tokens of an unrelated text, as a null for readings."""

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
    """A soft prompt that learns a task while its embeddings stay close to the tokens of *text*.

    Training minimises `loss(P) + strength / k * sum_i |p_i - e_i|^2`, where p_i is row i of `P (k, d_embed)`, e_i is
    the embedding of the text's token i (the text is repeated until every position has a token), and `|.|` is the L2
    norm (Khashabi et al. 2022; the mean over positions is that of their code). A larger *strength* (>= 0) keeps the
    prompt closer to the text, at the cost of the task. Training starts at the text, where the second term is zero,
    unless *init* is given. The loss in a run's history is the first term.

    The nearest tokens of such a prompt are those of the text, whatever the task. A reading of another prompt that finds
    no more than the same kind of tokens therefore shows where the prompt is in embedding space, not what its task is
    (`ps.readings.Nulls(wayward=...)`).

    Raises:
        PromptError: the strength is negative, or the text has more tokens than the prompt has positions.

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
            raise PromptError(f"strength must be at least 0, got {strength}")
        self.text, self.strength = text, strength

    def settings(self) -> dict[str, Any]:
        """Return length, text and strength."""
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
                f"the text {self.text!r} has {n} tokens, and the prompt has {self.length} positions: use a shorter "
                "text or a longer prompt"
            )
        super()._create(model, generator)
