"""Variants of one prompt, ready to stand in front of any number of batches: computed once where that is exact."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from promptscope.engine import is_packed, kernel, logits_where, notice_edits
from promptscope.engine.causal import computed
from promptscope.engine.forward import packed_logits
from promptscope.engine.shared import Shared, sees_everywhere
from promptscope.engine.template import common_prefix
from promptscope.interventions.ablation import changed
from promptscope.interventions.cut import CutPrompt
from promptscope.interventions.cut_passes import cut_encoder_logits, pick_cut, share_cut
from promptscope.models import HookedModel
from promptscope.prompts import Prompt
from promptscope.tasks import IGNORED, Batch, concatenate


class Front(ABC):
    """G variants of one prompt that take the same number of rows, on one model."""

    @abstractmethod
    def logits(self, batch: Batch, chosen: Sequence[int]) -> Float[Tensor, "rows V"]:
        """Return the logits that predict the targets of *batch* behind each of the *chosen* variants, in turn."""


def stand_in_front(
    model: HookedModel, prompt: Prompt, how: str, kept: Bool[np.ndarray, "G k"], texts: Sequence[Sequence[int]]
) -> Front:
    """Prepare the variants of *prompt* that *kept* describes: all of one number of tokens, if *how* shortens it.

    *texts*: all texts that will run behind them, each without the token that predicts.
    """
    notice_edits(model.twin)
    if how != "cut":
        some = [row for row in kept if how != "remove" or row.any()]  # without any token there is no prompt
        return _Prompts(model, [changed(prompt, how, row, model) for row in some], texts)
    numbers = torch.tensor(np.array([np.flatnonzero(row) for row in kept], dtype=np.int64), device=model.device)
    if model.family.kind == "seq2seq" or not is_packed(model, [prompt]):
        return _Hooked(model, [CutPrompt(prompt, np.flatnonzero(~row).tolist()) for row in kept])
    if model.family.kind == "causal":
        return _CutCausal(model, prompt, numbers, texts)
    return _CutMasked(model, prompt, numbers)


class _Prompts(Front):
    """Variants that are prompts: any model. On causal models their keys and values are computed once."""

    def __init__(self, model: HookedModel, prompts: Sequence[Prompt], texts: Sequence[Sequence[int]]) -> None:
        self.model, self.prompts = model, [prompt.bind(model) for prompt in prompts]
        self.shared: Shared | None = None
        if model.family.kind == "causal" and is_packed(model, self.prompts[:1]):
            template = common_prefix(texts) if sees_everywhere(model, self.prompts[:1]) else []
            with kernel(model):
                front = [template] * max(len(prompts), 1) if template else []
                self.shared = computed(model, Shared.of(model, self.prompts, front))

    def logits(self, batch: Batch, chosen: Sequence[int]) -> Float[Tensor, "rows V"]:
        repeated, which = _repeated(batch, len(chosen))
        where, prompts = repeated.targets != IGNORED, [self.prompts[i] for i in chosen] if self.prompts else []
        texts = (where, repeated.input_ids, repeated.attention_mask, prompts, which, repeated.decoder_input_ids)
        if self.shared is None:
            return logits_where(self.model, *texts, unseen=repeated.unseen)
        return packed_logits(self.model, *texts, self.shared.pick(chosen) if self.prompts else self.shared)


class _CutCausal(Front):
    """Cut tokens on causal models: the keys and values of the others, at their places, computed once."""

    def __init__(
        self, model: HookedModel, prompt: Prompt, kept: Int[Tensor, "G s"], texts: Sequence[Sequence[int]]
    ) -> None:
        self.model = model
        template = common_prefix(texts) if sees_everywhere(model, [prompt]) else []
        with kernel(model):
            self.shared = share_cut(model, prompt, kept, template)

    def logits(self, batch: Batch, chosen: Sequence[int]) -> Float[Tensor, "rows V"]:
        repeated, which = _repeated(batch, len(chosen))
        where, shared = repeated.targets != IGNORED, pick_cut(self.shared, list(chosen))
        return packed_logits(self.model, where, repeated.input_ids, repeated.attention_mask, (), which, None, shared)


class _CutMasked(Front):
    """Cut tokens on masked language models: the rows of the others, at their places."""

    def __init__(self, model: HookedModel, prompt: Prompt, kept: Int[Tensor, "G s"]) -> None:
        self.model, self.prompt, self.kept = model, prompt, kept

    def logits(self, batch: Batch, chosen: Sequence[int]) -> Float[Tensor, "rows V"]:
        repeated, which = _repeated(batch, len(chosen))
        where, real = repeated.targets != IGNORED, repeated.attention_mask.bool()
        with kernel(self.model):
            return cut_encoder_logits(
                self.model,
                self.prompt,
                self.kept[list(chosen)],
                which,
                where,
                repeated.input_ids,
                real,
                repeated.unseen,
            )


class _Hooked(Front):
    """The definition, variant by variant: for encoder-decoders, and models that cannot run packed."""

    def __init__(self, model: HookedModel, prompts: Sequence[Prompt]) -> None:
        self.model, self.prompts = model, prompts

    def logits(self, batch: Batch, chosen: Sequence[int]) -> Float[Tensor, "rows V"]:
        texts, where = (batch.input_ids, batch.attention_mask), batch.targets != IGNORED
        decoder_ids = batch.decoder_input_ids
        every = [
            self.model.logits(*texts, self.prompts[i], via="hooks", decoder_input_ids=decoder_ids, unseen=batch.unseen)[
                where
            ]
            for i in chosen
        ]
        return torch.cat(every)


def _repeated(batch: Batch, n: int) -> tuple[Batch, Int[Tensor, "records"]]:
    """Put *n* copies of a batch below each other, and say which copy each record is of."""
    which = torch.arange(n, device=batch.input_ids.device).repeat_interleave(len(batch))
    return concatenate([batch] * n), which
