"""Attention knockout: prompt tokens that stay where they are and that nobody attends to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.checks import checked
from promptscope.errors import PromptError
from promptscope.interventions.tokens import kept_tokens
from promptscope.models import Hook, HookedModel, Prefix
from promptscope.prompts import Prompt


@checked()
def cut(prompt: Prompt, tokens: int | Sequence[int]) -> CutPrompt:
    """Return *prompt* with *tokens* cut from attention: in every layer, no query sees their keys.

    Neither text nor the other prompt tokens attend to a cut token, so it has no influence on anything; all positions
    stay as they are. This is `remove` without renumbering. The attention weights of the others add up to one again.

    Raises:
        PromptError: no such token, an unbound prompt, or one of another kind.

    >>> import promptscope as ps
    >>> cut(ps.SoftPrompt(4).bind(ps.load_model("embedded-causal")), [1]).tokens
    (1,)
    """
    return CutPrompt(prompt, np.flatnonzero(~kept_tokens(prompt, tokens)).tolist())


class CutPrompt(Prompt):
    """A prompt some of whose tokens are hidden from attention; see `cut`.

    It exists as hooks only: on causal models call `model.logits(..., via="hooks")`. `ps.importance` and probes need
    nothing of the kind.
    """

    def __init__(self, prompt: Prompt, tokens: Sequence[int]) -> None:
        super().__init__(prompt.length, prompt.init, prompt.seed)
        self.prompt = prompt.copy()
        self.tokens = tuple(tokens)
        self.strict = prompt.strict
        same = ("model", "revision", "family", "embedding_hash", "weights_hash")
        self.provenance = {name: prompt.provenance[name] for name in same if name in prompt.provenance}
        self.provenance |= {"cut": list(tokens), "prompt": prompt.content_hash()}

    def settings(self) -> dict[str, Any]:
        """The cut tokens, and the settings of the whole prompt."""
        return {"tokens": list(self.tokens), "type": type(self.prompt).__name__, **self.prompt.settings()}

    def slots(self, model: HookedModel) -> dict[str, int]:
        """Take as many positions as the whole prompt."""
        return self.prompt.slots(model)

    def hooks(self, model: HookedModel) -> list[Hook]:
        """Write the whole prompt, then hide the keys of the cut tokens in every attention that has them."""
        self.bind(model)
        hooks, slots = self.prompt.hooks(model), self.slots(model)
        for attention in model.family.attentions.values():
            if attention.keys in slots:
                sites = [
                    f"{attention.stack}.{layer}.{attention.module}" for layer in range(model.layers[attention.stack])
                ]
                hooks += [(f"{site}.hook_attn_scores", _hide(self.tokens)) for site in sites]
        return hooks

    def prefix(self, model: HookedModel) -> Prefix:
        """Raise PromptError: keys that nobody sees, at positions that count, are no plain cache."""
        raise PromptError(
            "a prompt with tokens cut from attention has no prefix cache: use model.logits(..., via='hooks'), "
            "ps.probe or ps.importance(..., how='cut')"
        )

    def _create(self, model: HookedModel, generator: torch.Generator) -> None:
        raise AssertionError("only bound prompts are cut")

    def _check_fit(self, model: HookedModel) -> None:
        self.prompt.bind(model, strict=False)  # whether another model is allowed was decided by this prompt's own bind


def _hide(tokens: Sequence[int]) -> Any:
    def hide(scores: Float[Tensor, "B head T S"], hook: object) -> Tensor:
        # A finite number, not -inf: the row of a cut token itself may have no other key, and must not be NaN. Finite
        # in float32 too, in which Llama takes its softmax whatever the dtype.
        lowest = max(torch.finfo(scores.dtype).min, torch.finfo(torch.float32).min)
        hidden = scores.clone()
        hidden[..., list(tokens)] = lowest
        return hidden

    return hide
