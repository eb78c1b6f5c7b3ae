"""Verbalizer scoring: how likely each label's words are."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from promptscope.models import HookedModel, Prefix
from promptscope.prompts import Prompt
from promptscope.tasks import Batch, Task
from promptscope.training.batches import batches, encode_split, shared_prefix
from promptscope.training.objective import target_logits


@torch.no_grad()
def score_labels(
    model: HookedModel,
    task: Task,
    prompt: Prompt | None = None,
    split: str = "test",
    batch_size: int = 16,
    limit: int | None = None,
    max_length: int | None = None,
    progress: bool = True,
) -> Float[Tensor, "records labels"]:
    """Return `log p(words of label | text)` in nats, one column for each label of the verbalizer, in its order.

    The words of a label of several tokens are scored together: the sum of their log-probabilities, without the end
    token (with it, if one label's tokens begin another's). At most 0; higher is more likely.

    Raises:
        TaskError: the task has no verbalizer.
    """
    words = list(task.scored_ids(model.tokenizer, model.family.kind).values())
    examples = encode_split(model, task, split, prompt, max_length, limit=limit)
    prefix = shared_prefix(model, prompt)
    every = batches(model, examples, batch_size, "score", progress)
    return torch.cat([score_batch(model, batch, words, prompt, prefix) for batch in every])


def score_batch(
    model: HookedModel,
    batch: Batch,
    words: Sequence[Sequence[int]],
    prompt: Prompt | None = None,
    prefix: Prefix | None = None,
    logits: Float[Tensor, "targets V"] | None = None,
) -> Float[Tensor, "B labels"]:
    """Score the token lists *words* as the labels of an encoded batch, whatever its own labels are.

    *logits* are the batch's `target_logits`, if they are known already: they hold the scores of all one-token words,
    because no model looks at the label before it predicts the first token of it.
    """
    if max(map(len, words)) > 1:
        return torch.stack([_score_word(model, batch, word, prompt, prefix) for word in words], dim=1).cpu()
    if logits is None:
        logits = target_logits(model, batch, prompt, prefix)
    n_targets = (batch.targets != -100).sum(dim=1)
    first = n_targets.cumsum(dim=0) - n_targets
    return logits[first].log_softmax(-1)[:, [word[0] for word in words]].cpu()


def _score_word(
    model: HookedModel, batch: Batch, word: Sequence[int], prompt: Prompt | None, prefix: Prefix | None
) -> Float[Tensor, "B"]:
    """Write *word* after each record's text, over the record's own label, and sum its log-probabilities."""
    assert batch.label_start is not None
    tokens = torch.tensor(word, device=batch.input_ids.device).expand(len(batch), -1)
    ids, mask, decoder_ids = batch.input_ids, batch.attention_mask, batch.decoder_input_ids
    if decoder_ids is not None:
        decoder_ids = torch.cat([decoder_ids[:, :1], tokens[:, :-1]], dim=1)
        where = torch.ones_like(decoder_ids, dtype=torch.bool)
    else:
        at = batch.label_start[:, None] + torch.arange(len(word), device=ids.device)
        width = int(at.max()) + 1
        ids = pad(ids, (0, len(word)))[:, :width].scatter(1, at, tokens)
        positions = torch.arange(width, device=ids.device)
        mask = (positions <= at[:, -1:]).long()
        where = torch.zeros_like(mask, dtype=torch.bool).scatter(1, at - 1, True)
    logits = model.logits_where(where, ids, mask, prompt, decoder_ids, prefix)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    scores = logits.log_softmax(-1).unflatten(0, tokens.shape)  # (B, tokens of the word, V)
    return scores.gather(2, tokens[..., None]).sum(dim=(1, 2))
