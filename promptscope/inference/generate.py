"""Greedy generation with a soft prompt."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from promptscope.checks import checked
from promptscope.engine import Shared, continue_, share
from promptscope.errors import ModelError, TaskError
from promptscope.inference.finite import refuse_nan
from promptscope.models import Hook, HookedModel, PromptLike
from promptscope.models.layout import to_right_padding
from promptscope.prompts import Prompt

_TOKENS = (
    "Make them from texts: parts = model.tokenizer(texts, return_tensors='pt', padding=True), then "
    "input_ids=parts['input_ids'], attention_mask=parts['attention_mask']. For ids of one text, use ids[None]."
)


@checked(hints={"input_ids": _TOKENS, "attention_mask": _TOKENS}, max_new_tokens=0)
@torch.no_grad()
def generate(
    model: HookedModel,
    prompt: Prompt | None,
    input_ids: Int[Tensor, "B n"],
    attention_mask: Int[Tensor, "B n"] | None = None,
    max_new_tokens: int = 20,
    stop_ids: Sequence[int] = (),
    hooks: Sequence[Hook] = (),
) -> list[list[int]]:
    """Return the new token ids of each row, chosen greedily (argmax), up to a stop token and without it.

    Each row gets the tokens that it would get alone, whichever side is padded (PEFT's batched generation does not
    ensure this). The settings in the model's `generation_config.json`, such as repetition penalty and end token, are
    not used.

    Args:
        model: a causal model or an encoder-decoder.
        prompt: a soft prompt, or None.
        input_ids: token ids `(B, n)`, padded on either side.
        attention_mask: 1 for tokens and 0 for padding; by default all are tokens.
        max_new_tokens: the largest number of new tokens of a row.
        stop_ids: token ids at which a row ends.
        hooks: hooks for this call, in addition to attached ones. With hooks, the model runs on the whole row again at
            every step, so that hooks always get the same layout of positions.

    Raises:
        TaskError: the model is a masked language model, or a row has no token.
        ModelError: an encoder-decoder has no decoder_start_token_id.
        PromptError: prompt, text and new tokens exceed the model's context.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> text = model.tokenizer(["Lima is in"], return_tensors="pt")
    >>> (new,) = ps.generate(model, ps.SoftPrompt(4), text["input_ids"], text["attention_mask"], max_new_tokens=3)
    >>> len(new), type(model.tokenizer.decode(new))
    (3, <class 'str'>)
    """
    if model.family.kind == "masked":
        raise TaskError(
            f"{model.name!r} is a masked language model, which does not generate text: use a task with a verbalizer, "
            "or a causal model"
        )
    input_ids, mask = model.rules.check_inputs(input_ids, attention_mask)
    if not mask.any(dim=1).all():
        raise TaskError("every row needs at least one token, got a row without any")
    if model.family.kind == "seq2seq" and model.decoder_start_id is None:
        raise ModelError(
            f"config.json of {model.name!r} has no decoder_start_token_id, the token with which a decoder starts: set "
            "config.decoder_start_token_id (for T5, its pad token) before loading"
        )
    order = to_right_padding(mask)
    input_ids, mask = input_ids.gather(1, order).to(model.device), mask.gather(1, order).to(model.device)
    with model.turn(hooks):
        placed = None if prompt is None else prompt.place(model)
        shared = share(model, [] if placed is None else [placed])
        return write(model, input_ids, mask, placed, max_new_tokens, stop_ids, shared)


def write(
    model: HookedModel,
    input_ids: Int[Tensor, "B n"],
    attention_mask: Int[Tensor, "B n"],
    prompt: PromptLike | None,
    max_new_tokens: int,
    stop_ids: Sequence[int],
    shared: Shared | None,
) -> list[list[int]]:
    """Implement `generate`, with *shared* keys and values of all rows; padding before a text counts as positions."""
    texts = continue_(model, input_ids, attention_mask, [] if prompt is None else [prompt], max_new_tokens, shared)
    logits, new = texts.last, input_ids[:, :0]
    stop = torch.tensor(list(stop_ids), dtype=new.dtype, device=new.device)
    while new.shape[1] < max_new_tokens and not torch.isin(new, stop).any(dim=1).all():
        if new.shape[1]:
            logits = texts.read(new[:, -1:])[:, 0]
        refuse_nan(model, logits, [prompt])
        # Rows that stopped earlier go on, and are cut.
        new = torch.cat([new, logits.argmax(-1, keepdim=True)], dim=1)
    return [_until_stop(row, stop_ids) for row in new.tolist()]


def _until_stop(row: list[int], stop_ids: Sequence[int]) -> list[int]:
    return row[: next((i for i, token in enumerate(row) if token in stop_ids), len(row))]
