"""The logits that predict a batch's target tokens, and their losses."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from promptscope.engine import Shared, Texts, logits
from promptscope.models import HookedModel, PromptLike
from promptscope.tasks import IGNORED, Batch


def texts_of(batch: Batch) -> Texts:
    """Return the texts of a batch, with the positions at which its target tokens are predicted."""
    where = batch.targets != IGNORED
    return Texts(batch.input_ids, batch.attention_mask, where, batch.decoder_input_ids, batch.unseen, batch.token_types)


def target_logits(
    model: HookedModel,
    batch: Batch,
    prompts: Sequence[PromptLike] = (),
    which: Int[Tensor, "B"] | None = None,
    shared: Shared | None = None,
) -> Float[Tensor, "targets V"]:
    """Return the logits that predict the target tokens of a batch, record by record, in float32 or longer.

    Target tokens are those of the template's target: the label's tokens, then the end token. With several prompts,
    record b is run with `prompts[which[b]]`. *shared* is the result of `promptscope.engine.share` for these prompts, if
    there is one.

    >>> import promptscope as ps
    >>> from promptscope.inference import batches, encode_split
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> (batch,) = batches(model, encode_split(model, None, task, "test", limit=2), batch_size=2)
    >>> target_logits(model, batch).shape == (int((batch.targets != -100).sum()), model.shape.vocab_size)
    True
    """
    found = logits(model, texts_of(batch), prompts, which, shared)
    return found.to(torch.promote_types(found.dtype, torch.float32))


def target_losses(batch: Batch, logits: Float[Tensor, "targets V"]) -> Float[Tensor, "targets"]:
    """Return the cross-entropy of every target token in nats (at least 0), given the batch's `target_logits`.

    >>> import promptscope as ps
    >>> from promptscope.inference import batches, encode_split
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> (batch,) = batches(model, encode_split(model, None, task, "test", limit=2), batch_size=2)
    >>> losses = target_losses(batch, target_logits(model, batch))
    >>> bool((losses >= 0).all())
    True
    """
    return cross_entropy(logits, batch.targets[batch.targets != IGNORED], reduction="none")


def first_targets(batch: Batch) -> Int[Tensor, "B"]:
    """Return for each record the row of `target_logits` that predicts its first target token."""
    counts = (batch.targets != IGNORED).sum(dim=1)
    return counts.cumsum(dim=0) - counts
