"""The loss of a prompt on a batch: cross-entropy on label and end tokens only."""

import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.models import HookedModel, Prefix
from promptscope.prompts import Prompt
from promptscope.tasks import Batch


def target_losses(
    model: HookedModel, batch: Batch, prompt: Prompt | None, prefix: Prefix | None = None
) -> Float[Tensor, "targets"]:
    """Return the cross-entropy (nats) of every target token of a batch, record by record.

    Targets are the tokens that the template's target holds: label and end token. Computed in float32 at least.
    """
    where = batch.targets != -100
    logits = model.logits_where(where, batch.input_ids, batch.attention_mask, prompt, batch.decoder_input_ids, prefix)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return torch.nn.functional.cross_entropy(logits, batch.targets[where].to(logits.device), reduction="none")
