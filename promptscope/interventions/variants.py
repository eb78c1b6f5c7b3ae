"""Variants of one prompt, run with many batches; their keys and values are computed once where that is exact."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from promptscope.engine import logits, share
from promptscope.inference.targets import texts_of
from promptscope.models import HookedModel, PromptLike
from promptscope.prompts.edits import edited
from promptscope.tasks import Batch, concatenate


class Variants:
    """G variants of *prompt* with the same number of visible tokens.

    *kept* (G, k) says which tokens each variant keeps, *how* what is done to the others, and *texts* are all texts that
    will be run after them, each without its last token.
    """

    def __init__(
        self,
        model: HookedModel,
        prompt: PromptLike,
        how: str,
        kept: Bool[np.ndarray, "G k"],
        texts: Sequence[Sequence[int]],
    ) -> None:
        self.model, whole = model, prompt.place(model)
        some = [row for row in kept if how != "remove" or row.any()]  # without any token there is no prompt
        self.placements = [edited(whole, how, row.tolist(), model) for row in some]
        self.shared = share(model, self.placements, texts)

    def logits(self, batch: Batch, chosen: Sequence[int]) -> Float[Tensor, "rows V"]:
        """Return the logits that predict the targets of *batch* with each of the *chosen* variants, in turn."""
        # One copy of the batch for each variant, one below the other.
        which = torch.arange(len(chosen), device=batch.input_ids.device).repeat_interleave(len(batch))
        repeated = concatenate([batch] * len(chosen))
        if not self.placements:
            return logits(self.model, texts_of(repeated), shared=self.shared)
        shared = None if self.shared is None else self.shared.pick(chosen)
        return logits(self.model, texts_of(repeated), [self.placements[i] for i in chosen], which, shared)
