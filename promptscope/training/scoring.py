"""Verbalizer scoring: how likely each label's words are."""

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from promptscope.errors import TaskError
from promptscope.models import HookedModel, Prefix
from promptscope.prompts import Prompt
from promptscope.tasks import Batch, Task
from promptscope.training.batches import batches, encode_split


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

    The words of a label of several tokens are scored together: the sum of their log-probabilities. At most 0; higher is
    more likely.

    Raises:
        TaskError: the task has no verbalizer.
    """
    if task.verbalizer is None:
        raise TaskError(
            f"task {task.name!r} has no verbalizer: score labels of a classification task, generate otherwise"
        )
    words = list(task.label_ids(model.tokenizer, model.family.kind).values())
    examples = encode_split(model, task, split, prompt, max_length, with_label=False, limit=limit)
    prefix = _prefix(model, prompt)
    rows = []
    total = -(-len(examples) // batch_size)
    for batch in tqdm(batches(model, examples.examples, batch_size), desc="score", total=total, disable=not progress):
        rows.append(_score(model, batch, words, prompt, prefix))
    return torch.cat(rows)


def _prefix(model: HookedModel, prompt: Prompt | None) -> Prefix | None:
    """Compute a causal model's prefix once for all batches."""
    return prompt.bind(model).prefix(model) if prompt is not None and model.family.kind == "causal" else None


def _score(
    model: HookedModel, batch: Batch, words: list[list[int]], prompt: Prompt | None, prefix: Prefix | None
) -> Float[Tensor, "B labels"]:
    assert batch.label_start is not None
    if max(map(len, words)) == 1:  # one prediction holds the score of every label
        start = batch.label_start - (model.family.kind == "causal")
        width = batch.input_ids.shape[1] if batch.decoder_input_ids is None else batch.decoder_input_ids.shape[1]
        where = torch.arange(width, device=start.device)[None] == start[:, None]
        logits = model.logits_where(
            where, batch.input_ids, batch.attention_mask, prompt, batch.decoder_input_ids, prefix
        )
        first = torch.tensor([word[0] for word in words], device=logits.device)
        return logits.float().log_softmax(-1)[:, first].cpu()
    columns = [_score_word(model, batch, word, prompt, prefix) for word in words]
    return torch.stack(columns, dim=1).cpu()


def _score_word(
    model: HookedModel, batch: Batch, word: list[int], prompt: Prompt | None, prefix: Prefix | None
) -> Float[Tensor, "B"]:
    """Sum the log-probabilities of *word*, written after each record's text."""
    assert batch.label_start is not None
    tokens = torch.tensor(word, device=batch.input_ids.device)
    ids, mask, decoder_ids = batch.input_ids, batch.attention_mask, batch.decoder_input_ids
    if decoder_ids is not None:
        decoder_ids = torch.cat([decoder_ids[:, :1], tokens[:-1].expand(len(ids), -1)], dim=1)
        where = torch.ones_like(decoder_ids, dtype=torch.bool)
    else:
        n = ids.shape[1]
        ids = torch.nn.functional.pad(ids, (0, len(word)))
        mask = torch.nn.functional.pad(mask, (0, len(word)))
        at = batch.label_start[:, None] + torch.arange(len(word), device=ids.device)
        ids = ids.scatter(1, at, tokens.expand(len(ids), -1))
        mask = mask.scatter(1, at, 1)
        where = torch.zeros(len(ids), n + len(word), dtype=torch.bool, device=ids.device).scatter(1, at - 1, True)
    logits = model.logits_where(where, ids, mask, prompt, decoder_ids, prefix)
    scores = logits.float().log_softmax(-1).unflatten(0, (len(ids), len(word)))
    return scores.gather(2, tokens.expand(len(ids), -1)[..., None]).sum(dim=(1, 2))
