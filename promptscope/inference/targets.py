"""The logits that predict a batch's target tokens, and the loss of each."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from promptscope.engine import Shared, logits_where
from promptscope.models import HookedModel
from promptscope.prompts import Prompt
from promptscope.tasks import IGNORED, Batch


def target_logits(
    model: HookedModel,
    batch: Batch,
    prompt: Prompt | Sequence[Prompt] | None,
    shared: Shared | None = None,
    which: Int[Tensor, "B"] | None = None,
) -> Float[Tensor, "targets V"]:
    """Return the logits that predict the target tokens of a batch, record by record; in float32 at least.

    Targets are the tokens of the template's target: label and end token. The first of each record is the label's.
    Of several prompts, record b has `prompt[which[b]]`.
    """
    prompts = [] if prompt is None else [prompt] if isinstance(prompt, Prompt) else prompt
    logits = logits_where(
        model,
        batch.targets != IGNORED,
        batch.input_ids,
        batch.attention_mask,
        prompts,
        which,
        batch.decoder_input_ids,
        shared,
        batch.unseen,
    )
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def target_losses(batch: Batch, logits: Float[Tensor, "targets V"]) -> Float[Tensor, "targets"]:
    """Return the cross-entropy (nats) of every target token, given `target_logits`."""
    return cross_entropy(logits, batch.targets[batch.targets != IGNORED], reduction="none")
