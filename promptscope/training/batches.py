"""From a task's split to batches of token ids for one model."""

from collections.abc import Iterator, Sequence

from promptscope.errors import PromptError
from promptscope.models import HookedModel
from promptscope.prompts import Prompt
from promptscope.tasks import Batch, Encoded, EncodedSplit, Task, collate


def room_for_text(model: HookedModel, task: Task, prompt: Prompt | None, max_length: int | None) -> int | None:
    """Return how many tokens a record may have: *max_length* (default: the task's), within what the prompt leaves."""
    max_length = task.max_length if max_length is None else max_length
    k = prompt.length if prompt is not None else 0
    context = model.shape.context
    if context is not None and context <= k:
        raise PromptError(f"a prompt of {k} positions leaves no room in the {context} positions of {model.name!r}")
    limits = [limit for limit in (max_length, None if context is None else context - k) if limit is not None]
    return min(limits, default=None)


def encode_split(
    model: HookedModel,
    task: Task,
    split: str,
    prompt: Prompt | None = None,
    max_length: int | None = None,
    with_label: bool = True,
    limit: int | None = None,
) -> EncodedSplit:
    """Tokenise a split of *task* for *model*, leaving room for *prompt*."""
    return task.encode(
        model.tokenizer,
        model.family.kind,
        split,
        with_label=with_label,
        max_length=room_for_text(model, task, prompt, max_length),
        limit=limit,
        decoder_start_id=model.decoder_start_id,
    )


def pad_id(model: HookedModel) -> int:
    """Return the id that fills up batches; it is masked, so any would do."""
    return model.tokenizer.pad_token_id or 0


def batches(model: HookedModel, examples: Sequence[Encoded], batch_size: int) -> Iterator[Batch]:
    """Yield batches in the given order."""
    for start in range(0, len(examples), batch_size):
        yield collate(list(examples[start : start + batch_size]), pad_id(model)).to(model.device)
