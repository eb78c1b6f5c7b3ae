"""Scores of a model on a task, with a prompt or without one."""

from collections.abc import Iterator, Sequence

import torch

from promptscope.checks import checked
from promptscope.inference.batches import batches, check_padding, encode_split, share_over
from promptscope.inference.finite import refuse_nan
from promptscope.inference.generate import write
from promptscope.inference.scoring import score_batch, word_logits
from promptscope.inference.targets import target_logits, target_losses
from promptscope.models import Hook, HookedModel, Placement
from promptscope.prompts import Prompt
from promptscope.tasks import Batch, EncodedSplit, Task
from promptscope.tasks.encoded import Side


@checked(batch_size=1, limit=1, max_length=1, max_new_tokens=1)
def evaluate(
    model: HookedModel,
    prompt: Prompt | None,
    task: Task,
    split: str = "test",
    batch_size: int = 16,
    limit: int | None = None,
    max_length: int | None = None,
    max_new_tokens: int | None = None,
    progress: bool = True,
    padding: Side = "right",
    hooks: Sequence[Hook] = (),
) -> dict[str, float]:
    """Return the task's metrics on a split, in the task's order, then `loss` and `n`.

    In a classification, the prediction is the label whose words have the highest probability; in a generation, it is
    greedy text. All metrics are better when higher. `loss` is the mean cross-entropy in nats over all label and end
    tokens, better when lower. `n` is the number of records.

    Args:
        model: a hooked model.
        prompt: a soft prompt, or None for the frozen model alone.
        task: the task.
        split: the split to score.
        batch_size: records per forward pass; results do not depend on it, except with left padding.
        limit: use this many first records only; None: all.
        max_length: truncate text so that a record has at most this many tokens; by default the task's value.
        max_new_tokens: the largest number of generated tokens; by default that of the longest answer in the training
            split, its end token included (without a training split, in this split).
        progress: whether to show a progress bar.
        padding: side of the padding; `left` moves texts away from the prompt, see `TrainConfig`.
        hooks: hooks for this call, in addition to attached ones, see `model.hooks`.

    Raises:
        TaskError: the split does not exist, or the task cannot be encoded for the model.
        PromptError: the prompt does not fit the model, or holds NaN.
        ModelError: the model's logits are NaN or infinite.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> scores = ps.evaluate(model, None, ps.load_task("continent_en"), limit=8, progress=False)
    >>> list(scores)
    ['accuracy', 'macro_f1', 'loss', 'n']
    """
    with model.turn(hooks):
        evaluator = Evaluator(
            model,
            prompt,
            task,
            split=split,
            batch_size=batch_size,
            limit=limit,
            max_length=max_length,
            max_new_tokens=max_new_tokens,
            padding=padding,
        )
        return evaluator.scores(progress)


@checked(batch_size=1, limit=1, max_length=1, max_new_tokens=1)
def predict(
    model: HookedModel,
    prompt: Prompt | None,
    task: Task,
    split: str = "test",
    batch_size: int = 16,
    limit: int | None = None,
    max_length: int | None = None,
    max_new_tokens: int | None = None,
    progress: bool = True,
    hooks: Sequence[Hook] = (),
) -> list[str]:
    """Return one prediction for each record: a label of the verbalizer, or generated text.

    The arguments, and how predictions are made, are those of `evaluate`.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> predictions = ps.predict(model, None, task, limit=3, progress=False)
    >>> len(predictions), set(predictions) <= set(task.verbalizer.labels)
    (3, True)
    """
    with model.turn(hooks):
        evaluator = Evaluator(
            model,
            prompt,
            task,
            split=split,
            batch_size=batch_size,
            limit=limit,
            max_length=max_length,
            max_new_tokens=max_new_tokens,
        )
        return evaluator.texts(progress) if task.verbalizer is None else evaluator.labels(progress)


class Evaluator:
    """A split that is encoded once for a model and a prompt, and can be scored each time the prompt has changed."""

    def __init__(
        self,
        model: HookedModel,
        prompt: Prompt | None,
        task: Task,
        split: str = "test",
        batch_size: int = 16,
        limit: int | None = None,
        max_length: int | None = None,
        max_new_tokens: int | None = None,
        padding: Side = "right",
    ) -> None:
        check_padding(model, padding)
        self.model, self.task, self.prompt, self.split, self.batch_size = model, task, prompt, split, batch_size
        self.padding: Side = padding
        self.examples = encode_split(model, prompt, task, split, max_length=max_length, limit=limit)
        if task.verbalizer is not None:
            self.words = list(task.scored_ids(model.tokenizer, model.family.kind).values())
            return
        if max_new_tokens is None:
            # How long the right answers are is not known before they are given: the training split says it.
            known = "train" if "train" in task.splits else split
            max_new_tokens = task.answer_length(model.tokenizer, model.family.kind, known)
        self.max_new_tokens = max_new_tokens
        reserve = self.max_new_tokens if model.family.kind == "causal" else 0
        self.sources = encode_split(
            model, prompt, task, split, max_length=max_length, with_label=False, limit=limit, reserve=reserve
        )
        self.end = task.end_ids(model.tokenizer, model.family.kind)

    @torch.no_grad()
    def scores(self, progress: bool = True) -> dict[str, float]:
        """Return the scores of `evaluate` for the present parameters of the prompt."""
        prompt = self._placed()
        shared = share_over(self.model, prompt, self.examples, padding=self.padding)
        losses, label_scores = [], []
        for batch in self._batches(self.examples, "evaluate", progress):
            logits = target_logits(self.model, batch, [] if prompt is None else [prompt], shared=shared)
            refuse_nan(self.model, logits, [prompt])
            losses.append(target_losses(batch, logits))
            if self.task.verbalizer is not None:
                label_scores.append(score_batch(self.model, batch, self.words, prompt, shared, logits))
        predictions = _best_labels(self.task, torch.cat(label_scores)) if label_scores else self.texts(progress)
        loss = torch.cat(losses).mean().item()
        return self.task.score(predictions, self.split) | {"loss": loss, "n": float(len(predictions))}

    @torch.no_grad()
    def labels(self, progress: bool = True) -> list[str]:
        """Return the most likely label of every record."""
        prompt = self._placed()
        shared = share_over(self.model, prompt, self.examples, padding=self.padding)
        scores = []
        for batch in self._batches(self.examples, "predict", progress):
            if max(map(len, self.words)) > 1:
                scores.append(score_batch(self.model, batch, self.words, prompt, shared))
            else:  # which is likeliest, their logits alone say
                tokens = [word[0] for word in self.words]
                scores.append(word_logits(self.model, batch, tokens, prompt, shared))
        return _best_labels(self.task, torch.cat(scores))

    @torch.no_grad()
    def texts(self, progress: bool = True) -> list[str]:
        """Return the greedy text for every record, up to the template's end token."""
        # An end of several tokens is searched afterwards: none of them alone ends the text.
        stop = self.end if len(self.end) == 1 else []
        texts: list[str] = []
        prompt = self._placed()
        shared = share_over(self.model, prompt, self.sources, with_label=False, padding=self.padding)
        for batch in self._batches(self.sources, "generate", progress):
            new = write(self.model, batch.input_ids, batch.attention_mask, prompt, self.max_new_tokens, stop, shared)
            for row in new:
                row = row[: _find(row, self.end)]
                texts.append(str(self.model.tokenizer.decode(row, skip_special_tokens=True)).strip())
        return texts

    def _placed(self) -> Placement | None:
        """Place the prompt as it is now, once for all batches."""
        return None if self.prompt is None else self.prompt.place(self.model)

    def _batches(self, examples: EncodedSplit, label: str, progress: bool) -> Iterator[Batch]:
        return batches(self.model, examples, self.batch_size, label, progress, self.padding)


def _best_labels(task: Task, scores: torch.Tensor) -> list[str]:
    assert task.verbalizer is not None
    return [task.verbalizer.labels[i] for i in scores.argmax(dim=1).tolist()]


def _find(row: Sequence[int], end: Sequence[int]) -> int:
    """Return the index at which *end* begins in *row*, or the length of *row* if it does not occur."""
    starts = range(len(row) - len(end) + 1) if end else ()
    return next((i for i in starts if list(row[i : i + len(end)]) == list(end)), len(row))
