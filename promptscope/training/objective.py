"""What training minimises: cross-entropy on label and end tokens only."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from promptscope.models import HookedModel, Prefix
from promptscope.prompts import Prompt
from promptscope.tasks import Batch


def target_logits(
    model: HookedModel, batch: Batch, prompt: Prompt | None, prefix: Prefix | None = None
) -> Float[Tensor, "targets V"]:
    """Return the logits that predict the target tokens of a batch, record by record; in float32 at least.

    Targets are the tokens of the template's target: label and end token. The first of each record is the label's.
    """
    where = batch.targets != -100
    logits = model.logits_where(where, batch.input_ids, batch.attention_mask, prompt, batch.decoder_input_ids, prefix)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def target_losses(batch: Batch, logits: Float[Tensor, "targets V"]) -> Float[Tensor, "targets"]:
    """Return the cross-entropy (nats) of every target token, given `target_logits`."""
    return cross_entropy(logits, batch.targets[batch.targets != -100], reduction="none")


def accumulate_gradient(model: HookedModel, prompt: Prompt, batches: Sequence[Batch]) -> float:
    """Add the gradient of the mean loss over all targets of *batches* to the prompt's, and return that loss.

    The activations of one batch are in memory at a time. The mean is over tokens, not over batches, so that how the
    records are split into batches changes nothing.
    """
    n_targets = sum(int((batch.targets != -100).sum()) for batch in batches)
    loss = 0.0
    for batch in batches:
        part = target_losses(batch, target_logits(model, batch, prompt)).sum() / n_targets
        part.backward()
        loss += part.item()
    return loss
