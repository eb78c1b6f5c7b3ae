"""The inputs of a causal analysis, and what is read from the model's output on each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from promptscope.checks import checked
from promptscope.errors import TaskError
from promptscope.inference.batches import encode_split, padding_id
from promptscope.models import HookedModel
from promptscope.probes import Saved
from promptscope.prompts import Prompt
from promptscope.tasks import IGNORED, Batch, Encoded, Task, collate


@dataclass(frozen=True, eq=False)
class Answers(Saved):
    """A model's answers to X inputs: three numbers for each, all of shape (X,); higher = better in all.

    - `gold`: log-probability of the right answer in nats, summed over its tokens, each predicted after the right ones
      before it; the end-of-answer token is not counted;
    - `difference`: logit of the gold label minus that of the best other label, at the first token of each; NaN for
      tasks without labels, and where two labels begin with the same token;
    - `correct`: 1 if the gold label's first token has a higher logit than those of all other labels, else 0; where
      labels cannot be compared: 1 if each token of the answer is the model's likeliest.

    >>> import numpy as np
    >>> found = Answers(gold=np.array([-0.1, -2.3]), difference=np.array([3.0, -1.0]), correct=np.array([1.0, 0.0]))
    >>> found.has_labels, found.first(1).correct.tolist()
    (True, [1.0])
    """

    gold: Float[np.ndarray, X]
    difference: Float[np.ndarray, X]
    correct: Float[np.ndarray, X]

    def first(self, n: int) -> Answers:
        """Return the answers to the first *n* inputs."""
        return Answers(self.gold[:n], self.difference[:n], self.correct[:n])

    @property
    def has_labels(self) -> bool:
        """True if the task has labels that can be compared, so that `difference` is defined."""
        return bool(np.isfinite(self.difference).all())


@dataclass(frozen=True, eq=False)
class Inputs(Saved):
    """X records of a task as tokens, cut after the position that predicts the last token of the answer.

    `labels` holds the first token id of each label; it is empty for tasks without labels, and where two labels begin
    with the same token.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> inputs = make_inputs(model, None, task, limit=3)
    >>> inputs.ids == [example.id for example in inputs.examples]
    True
    """

    examples: tuple[Encoded, ...]
    labels: tuple[int, ...]
    task: str
    split: str
    data_hash: str

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def ids(self) -> list[str]:
        """Ids of the records."""
        return [example.id for example in self.examples]

    def batches(self, model: HookedModel, batch_size: int) -> Iterator[tuple[np.ndarray, Batch]]:
        """Yield (indices of the inputs, batch); inputs of similar length share a batch, which saves padding."""
        order = np.argsort([-len(example.input_ids) for example in self.examples], kind="stable")
        pad_id = padding_id(model)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            yield chosen, collate([self.examples[i] for i in chosen], pad_id).to(model.device)

    def read(self, batch: Batch, logits: Float[Tensor, "rows V"]) -> Float[np.ndarray, "3 B"]:
        """Return an array (3, B): gold log-probability, logit difference and correctness of each record of *batch*.

        *logits* (rows, V) are those that predict the batch's targets, in order. They may also be those of several
        copies of the batch, one after the other; B is then the number of records of all copies.
        """
        copies = len(logits) // int((batch.targets != IGNORED).sum())
        targets = batch.targets.repeat(copies, 1)
        counts = (targets != IGNORED).sum(dim=1)
        of_record = torch.arange(len(targets), device=counts.device).repeat_interleave(counts)
        wanted = targets[targets != IGNORED]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        each = logits.log_softmax(-1).gather(1, wanted[:, None])[:, 0].double()
        gold = each.new_zeros(len(targets)).index_add(0, of_record, each)
        first = counts.cumsum(0) - counts
        if self.labels:
            columns = torch.tensor(self.labels, device=logits.device)
            scores = logits[first][:, columns].double()
            is_gold = columns[None, :] == wanted[first][:, None]
            mine = scores.masked_fill(~is_gold, -torch.inf).amax(1)
            difference = mine - scores.masked_fill(is_gold, -torch.inf).amax(1)
            correct = (difference > 0).double()
        else:
            difference = torch.full_like(gold, torch.nan)
            wrong = (logits.argmax(-1) != wanted).double()
            correct = (gold.new_zeros(len(targets)).index_add(0, of_record, wrong) == 0).double()
        return torch.stack([gold, difference, correct]).detach().cpu().numpy()


@checked(limit=1)
def make_inputs(
    model: HookedModel,
    prompt: Prompt | None,
    task: Task,
    split: str = "test",
    limit: int | None = 64,
    max_length: int | None = None,
) -> Inputs:
    """Encode the first *limit* records of a split, cut after the position that predicts the answer's last token.

    The prompt decides how much room is left for text in the model's context; None: all of it. *max_length* limits the
    number of text tokens further.

    Raises:
        TaskError: no such split, no records in it, records that cannot be encoded, or a masked model and a task without
            labels.
        PromptError: the prompt leaves no room for text.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> inputs = make_inputs(model, ps.SoftPrompt(4), task, limit=3)
    >>> len(inputs), inputs.task, inputs.split
    (3, 'continent_en', 'test')
    """
    encoded = encode_split(model, prompt, task, split, max_length=max_length, limit=limit)
    kind = model.family.kind
    end = task.end_ids(model.tokenizer, kind) if kind != "masked" else []
    examples = tuple(_to_answer(example, end, kind) for example in encoded)
    if not examples:
        raise TaskError(
            f"split {split!r} of task {task.name!r} has no records, and at least one is needed: choose another split"
        )
    labels: tuple[int, ...] = ()
    if task.verbalizer is not None:
        firsts = [ids[0] for ids in task.label_ids(model.tokenizer, kind).values()]
        labels = tuple(firsts) if len(set(firsts)) == len(firsts) > 1 else ()
    return Inputs(examples, labels, task.name, split, task.data_hash(split))


def _to_answer(example: Encoded, end: Sequence[int], kind: str) -> Encoded:
    """Drop the answer's end token; on causal models also all text after the last position that predicts the answer."""
    at = [i for i, target in enumerate(example.targets) if target != IGNORED]
    tail = [example.targets[i] for i in at[-len(end) :]] if end else []
    read = at[: len(at) - len(end)] if end and tail == list(end) and len(at) > len(end) else at
    targets = [target if i in set(read) else IGNORED for i, target in enumerate(example.targets)]
    if kind != "causal":
        return replace(example, targets=targets)
    n = read[-1] + 1
    cut = {name: getattr(example, name)[:n] for name in ("input_ids", "segments", "special")}
    return replace(example, targets=targets[:n], **cut)


def target_rows(batch: Batch, offset: int, copies: int = 1) -> tuple[Int[Tensor, rows], Int[Tensor, rows]]:
    """Return (row, position) of every target of *copies* of a batch, with *offset* added to the positions."""
    where: Bool[Tensor, "B m"] = batch.targets != IGNORED
    rows, positions = where.repeat(copies, 1).nonzero(as_tuple=True)
    return rows, positions + offset
