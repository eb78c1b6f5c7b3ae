"""How well a task is solved, with a prompt or without one."""

import torch
from tqdm.auto import tqdm

from promptscope.models import HookedModel
from promptscope.prompts import Prompt
from promptscope.tasks import Task
from promptscope.tasks.specials import Specials
from promptscope.training.batches import batches, encode_split
from promptscope.training.generate import generate
from promptscope.training.objective import target_losses
from promptscope.training.scoring import score_labels


@torch.no_grad()
def evaluate(
    model: HookedModel,
    task: Task,
    prompt: Prompt | None = None,
    split: str = "test",
    batch_size: int = 16,
    limit: int | None = None,
    max_length: int | None = None,
    max_new_tokens: int | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """Return the task's metrics on a split, its first metric first, then `loss` and `n`.

    Classification: the label whose words are most likely. Generation: greedy text, at most *max_new_tokens* (default:
    as many as the longest reference has). `loss` is the mean cross-entropy (nats) over label and end tokens; lower is
    better. All metrics: higher is better. Without a prompt: the frozen model.

    >>> scores = evaluate(load_model("embedded-causal"), load_task("continent_en"), limit=8, progress=False)
    >>> list(scores)
    ['accuracy', 'macro_f1', 'loss', 'n']
    """
    predictions = predict(model, task, prompt, split, batch_size, limit, max_length, max_new_tokens, progress)
    scores = task.score(predictions, split)
    loss = _loss(model, task, prompt, split, batch_size, limit, max_length)
    return scores | {"loss": loss, "n": float(len(predictions))}


@torch.no_grad()
def predict(
    model: HookedModel,
    task: Task,
    prompt: Prompt | None = None,
    split: str = "test",
    batch_size: int = 16,
    limit: int | None = None,
    max_length: int | None = None,
    max_new_tokens: int | None = None,
    progress: bool = True,
) -> list[str]:
    """Return one prediction per record: a label of the verbalizer, or generated text."""
    if task.verbalizer is not None:
        scores = score_labels(model, task, prompt, split, batch_size, limit, max_length, progress)
        labels = task.verbalizer.labels
        return [labels[i] for i in scores.argmax(dim=1).tolist()]
    if max_new_tokens is None:
        full = encode_split(model, task, split, prompt, max_length, limit=limit)
        max_new_tokens = max(sum(target != -100 for target in example.targets) for example in full)
    room = room_for_text(model, task, prompt, max_length)
    if room is not None and model.family.kind == "causal":
        room -= max_new_tokens
    examples = encode_split(model, task, split, prompt, room, with_label=False, limit=limit)
    stop = _end_ids(model, task)
    texts: list[str] = []
    every = batches(model, examples.examples, batch_size)
    for batch in tqdm(every, desc="generate", total=-(-len(examples) // batch_size), disable=not progress):
        new = generate(model, batch.input_ids, batch.attention_mask, prompt, max_new_tokens, stop)
        texts += [str(model.tokenizer.decode(row, skip_special_tokens=True)).strip() for row in new]
    return texts


def _end_ids(model: HookedModel, task: Task) -> list[int]:
    """Return the tokens that end an answer; none where the template ends with the label."""
    template = task.template_for(model.family.kind)
    if not any(part.kind == "special" and part.text == "eos" for part in template.target_parts):
        return []
    return Specials(model.tokenizer).ids("eos", template.specials)


def _loss(
    model: HookedModel,
    task: Task,
    prompt: Prompt | None,
    split: str,
    batch_size: int,
    limit: int | None,
    max_length: int | None,
) -> float:
    examples = encode_split(model, task, split, prompt, max_length, limit=limit)
    prefix = prompt.bind(model).prefix(model) if prompt is not None and model.family.kind == "causal" else None
    losses = [target_losses(model, batch, prompt, prefix) for batch in batches(model, examples.examples, batch_size)]
    return torch.cat(losses).mean().item()
