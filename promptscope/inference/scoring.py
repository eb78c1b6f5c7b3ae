"""Scores of labels: the log-probability of each label's words."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.checks import checked
from promptscope.engine import Shared, continue_, is_packed, only_tokens
from promptscope.inference.batches import batches, encode_split, share_over
from promptscope.inference.finite import refuse_nan
from promptscope.inference.targets import first_targets, target_logits
from promptscope.models import Hook, HookedModel, PromptLike
from promptscope.prompts import Prompt
from promptscope.tasks import IGNORED, Batch, Task


@checked(batch_size=1, limit=1, max_length=1)
@torch.no_grad()
def score_labels(
    model: HookedModel,
    prompt: Prompt | None,
    task: Task,
    split: str = "test",
    batch_size: int = 16,
    limit: int | None = None,
    max_length: int | None = None,
    progress: bool = True,
    hooks: Sequence[Hook] = (),
) -> Float[Tensor, "records labels"]:
    """Return the log-probability of each label's words after the text, `log p(w_1, ..., w_m | prompt, text)`.

    The result is `(records, labels)` in nats, with the labels in the verbalizer's order; it is at most 0, and higher is
    more likely. It is the sum of the log-probabilities of the word's tokens w_1, ..., w_m. The end token is not
    included, unless the tokens of one label begin those of another. The arguments are those of `evaluate`.

    Raises:
        TaskError: the task has no verbalizer, the split does not exist, or the task cannot be encoded for the model.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> scores = ps.score_labels(model, ps.SoftPrompt(4), task, limit=3, progress=False)
    >>> tuple(scores.shape), bool((scores <= 0).all())
    ((3, 5), True)
    """
    words = list(task.scored_ids(model.tokenizer, model.family.kind).values())
    examples = encode_split(model, prompt, task, split, max_length=max_length, limit=limit)
    with model.turn(hooks):
        placed = None if prompt is None else prompt.place(model)
        shared = share_over(model, placed, examples)
        every = batches(model, examples, batch_size, "score", progress)
        return torch.cat([score_batch(model, batch, words, placed, shared) for batch in every])


def score_batch(
    model: HookedModel,
    batch: Batch,
    words: Sequence[Sequence[int]],
    prompt: PromptLike | None = None,
    shared: Shared | None = None,
    logits: Float[Tensor, "targets V"] | None = None,
) -> Float[Tensor, "B labels"]:
    """Return the log-probabilities of the token lists *words* as labels of each record, in nats.

    The batch's own labels are not used. *logits* are its `target_logits`, if they were computed already; they are
    enough for words of one token, since the first label token is predicted before any label token is read.
    """
    prompts = [] if prompt is None else [prompt]
    if max(map(len, words)) > 1:
        return _score_words(model, batch, words, prompts, shared).cpu()
    if logits is None:
        logits = target_logits(model, batch, prompts, shared=shared)
        refuse_nan(model, logits, prompts)
    return logits[first_targets(batch)].log_softmax(-1)[:, [word[0] for word in words]].cpu()


def word_logits(
    model: HookedModel,
    batch: Batch,
    tokens: Sequence[int],
    prompt: PromptLike | None = None,
    shared: Shared | None = None,
) -> Float[Tensor, "B words"]:
    """Return the logits of *tokens* as each record's label; they rank the tokens and are cheaper than probabilities."""
    later = (batch.targets != IGNORED).cumsum(dim=1) > 1
    first = replace(batch, targets=batch.targets.masked_fill(later, IGNORED))
    prompts = [] if prompt is None else [prompt]
    if not is_packed(model, prompts):  # it may run hooked, through another unembedding
        chosen = target_logits(model, first, prompts, shared=shared)[:, list(tokens)]
    else:
        with only_tokens(model, tokens):
            chosen = target_logits(model, first, prompts, shared=shared)
    refuse_nan(model, chosen, prompts)
    return chosen.cpu()


def _score_words(
    model: HookedModel,
    batch: Batch,
    words: Sequence[Sequence[int]],
    prompts: Sequence[PromptLike],
    shared: Shared | None,
) -> Float[Tensor, "B labels"]:
    """Score words of several tokens: run every record's text once, then each word after it."""
    mask = batch.attention_mask
    if model.family.kind == "causal":
        assert batch.label_start is not None
        mask = mask * (torch.arange(mask.shape[1], device=mask.device) < batch.label_start[:, None])
    texts = continue_(model, batch.input_ids, mask, prompts, max(map(len, words)) - 1, shared)
    first = _log_probabilities(texts.last)
    scores = []
    for word in words:
        tokens = torch.tensor(word, device=mask.device).expand(len(batch), -1)
        score = first.gather(1, tokens[:, :1]).sum(dim=1)
        if len(word) > 1:
            rest = _log_probabilities(texts.read(tokens[:, :-1]))
            score = score + rest.gather(2, tokens[:, 1:, None]).sum(dim=(1, 2))
            texts.rewind()
        scores.append(score)
    found = torch.stack(scores, dim=1)
    refuse_nan(model, found, prompts)
    return found


def _log_probabilities(logits: Float[Tensor, "*rows V"]) -> Float[Tensor, "*rows V"]:
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
