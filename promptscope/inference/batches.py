"""Encoding of a task's split, and batches of token ids for one model."""

from collections.abc import Iterator, Sequence

from promptscope.engine import Shared, share
from promptscope.errors import PromptError, RunError, TaskError
from promptscope.models import HookedModel, PromptLike
from promptscope.progress import progress_bar
from promptscope.prompts import Prompt
from promptscope.tasks import Batch, Encoded, EncodedSplit, Task, collate
from promptscope.tasks.encoded import Side


def encode_split(
    model: HookedModel,
    prompt: Prompt | None,
    task: Task,
    split: str,
    max_length: int | None = None,
    with_label: bool = True,
    limit: int | None = None,
    reserve: int = 0,
) -> EncodedSplit:
    """Tokenise a split of *task* for *model*, with room for *prompt* and for *reserve* tokens after the text.

    Args:
        model: a hooked model.
        prompt: the soft prompt whose positions are left free, or None.
        task: the task.
        split: the name of the split.
        max_length: the largest number of tokens of a record; by default the task's. The model's context is a limit too.
        with_label: whether the label's tokens are included.
        limit: the number of first records to use; None: all.
        reserve: the number of positions to leave free after the text, for generation.

    Raises:
        PromptError: the prompt leaves no room for a text.
        TaskError: the split does not exist, the template does not fit the model, or a record does not fit.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> encode_split(model, ps.SoftPrompt(length=2), task, "test", limit=3)
    EncodedSplit(3 records, 0 truncated)
    """
    encoded = task.encode(
        model.tokenizer,
        model.family.kind,
        split,
        with_label=with_label,
        max_length=_room(model, task, prompt, max_length, reserve),
        limit=limit,
        decoder_start_id=model.decoder_start_id,
    )
    _check_decoder(model, task, encoded, max_length)
    return encoded


def _check_decoder(model: HookedModel, task: Task, encoded: EncodedSplit, max_length: int | None) -> None:
    """Raise TaskError if an answer is longer than the decoder's limit; answers are never truncated."""
    limits = [limit for limit in (max_length or task.max_length, model.shape.context) if limit is not None]
    if model.family.kind != "seq2seq" or not limits:
        return
    longest = max(encoded, key=lambda example: len(example.decoder_input_ids or ()))
    n = len(longest.decoder_input_ids or ())
    if n > min(limits):
        raise TaskError(
            f"the answer of record {longest.id!r} of task {task.name!r} has {n} tokens, but at most {min(limits)} fit "
            f"into the decoder of {model.name!r} (max_length, context), and answers are not truncated: pass a larger "
            "max_length, or leave the record out"
        )


def _room(model: HookedModel, task: Task, prompt: Prompt | None, max_length: int | None, reserve: int) -> int | None:
    """Return the largest number of tokens of a record: *max_length* (or the task's), at most what the prompt leaves."""
    max_length = task.max_length if max_length is None else max_length
    k = prompt.length if prompt is not None else 0
    context = model.shape.context
    if context is not None and context <= k:
        raise PromptError(
            f"a prompt of {k} positions leaves no room for a text in the {context} positions of {model.name!r}: use a "
            "shorter prompt"
        )
    limits = [limit for limit in (max_length, None if context is None else context - k) if limit is not None]
    if not limits:
        return None
    if min(limits) <= reserve:
        raise TaskError(
            f"max_new_tokens={reserve} leaves no room for the text: max_length is {max_length}, {model.name!r} has "
            f"{context} positions, and the prompt takes {k}. Pass a smaller max_new_tokens"
        )
    return min(limits) - reserve


def check_padding(model: HookedModel, padding: Side) -> None:
    """Raise RunError for left padding on models that are not causal, where it would not move the text."""
    if padding == "left" and model.family.kind != "causal":
        raise RunError(
            f"padding='left' is for causal models, where it moves the text away from the prompt, and {model.name!r} is "
            f"a {model.family.kind} model: use padding='right'"
        )


def padding_id(model: HookedModel) -> int:
    """Return the tokenizer's padding id, or 0 if it has none; padding is masked, so that any id would do."""
    pad_id = model.tokenizer.pad_token_id if model.has_tokenizer else None
    return pad_id if pad_id is not None and 0 <= pad_id < model.shape.vocab_size else 0


def batches(
    model: HookedModel,
    examples: Sequence[Encoded],
    batch_size: int,
    label: str = "",
    progress: bool = False,
    padding: Side = "right",
) -> Iterator[Batch]:
    """Yield padded batches of *examples* in the given order, on the model's device.

    *label* is the name of the progress bar, if *progress* is True; *padding* is the side of the padding.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> [len(batch) for batch in batches(model, encode_split(model, None, task, "test", limit=5), batch_size=2)]
    [2, 2, 1]
    """
    pad_id = padding_id(model)
    starts = range(0, len(examples), batch_size)
    for start in progress_bar(starts, desc=label, unit="batch", shown=progress):
        yield collate(list(examples[start : start + batch_size]), pad_id, padding).to(model.device)


def share_over(
    model: HookedModel,
    prompt: PromptLike | None,
    examples: Sequence[Encoded],
    with_label: bool = True,
    padding: Side = "right",
) -> Shared | None:
    """Compute once the keys and values of the prompt, and of the tokens with which all *examples* begin."""
    if padding == "left":  # texts begin at different positions
        return share(model, [] if prompt is None else [prompt])
    # The token before the label (before the first new token, without labels) predicts: it stays with its text.
    ends = [example.label_start if with_label else len(example.input_ids) for example in examples]
    texts = [example.input_ids[: end - 1] for example, end in zip(examples, ends, strict=True)]
    return share(model, [] if prompt is None else [prompt], texts)
