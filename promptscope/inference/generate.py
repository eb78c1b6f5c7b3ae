"""Greedy generation with a soft prompt."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from promptscope.checks import checked
from promptscope.engine import Shared, continue_, share
from promptscope.errors import ModelError, TaskError
from promptscope.inference.finite import refuse_nan
from promptscope.models import Hook, HookedModel
from promptscope.models.layout import to_right_padding
from promptscope.prompts import Prompt

_TOKENS = (
    "Make both of text: parts = model.tokenizer(texts, return_tensors='pt', padding=True), then "
    "input_ids=parts['input_ids'], attention_mask=parts['attention_mask']; of one text without padding: ids[None]."
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
    """Return each row's greedy continuation, without the stop token.

    A padded batch gives every row the tokens that it gets alone: rows keep their own positions, on either side of
    padding (PEFT's batched generation does not). It is plain argmax: unlike Hugging Face's `generate`, no repetition
    penalty or end token of the model's `generation_config.json` comes in.

    Under *hooks*, given or attached (`model.hooks`), the hooked model reads the whole of each row anew at every step,
    so that a hook always sees the same layout.

    Raises:
        TaskError: masked language models do not generate; a row without a token.
        ModelError: an encoder-decoder that does not say with which token it starts to write.
        PromptError: prompt, text and new tokens exceed the context.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> text = model.tokenizer(["Lima is in"], return_tensors="pt")
    >>> (new,) = ps.generate(model, ps.SoftPrompt(4), text["input_ids"], text["attention_mask"], max_new_tokens=3)
    >>> len(new), type(model.tokenizer.decode(new))
    (3, <class 'str'>)
    """
    if model.family.kind == "masked":
        raise TaskError(f"{model.name!r} is a masked language model and does not generate: use a verbalizer")
    input_ids, mask = model.rules.check_inputs(input_ids, attention_mask)
    if not mask.any(dim=1).all():
        raise TaskError("a row without a token has nothing to go on from: give each at least one")
    if model.family.kind == "seq2seq" and model.decoder_start_id is None:
        raise ModelError(
            f"config.json of {model.name!r} has no decoder_start_token_id, so it cannot start to write: set "
            "config.decoder_start_token_id (T5: its pad token) before loading"
        )
    order = to_right_padding(mask)
    input_ids, mask = input_ids.gather(1, order).to(model.device), mask.gather(1, order).to(model.device)
    with model.turn(hooks):
        shared = share(model, [] if prompt is None else [prompt])
        return write(model, input_ids, mask, prompt, max_new_tokens, stop_ids, shared)


def write(
    model: HookedModel,
    input_ids: Int[Tensor, "B n"],
    attention_mask: Int[Tensor, "B n"],
    prompt: Prompt | None,
    max_new_tokens: int,
    stop_ids: Sequence[int],
    shared: Shared | None,
) -> list[list[int]]:
    """Do as `generate` says, after what was `share`d of all rows; padding before a text counts as positions."""
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
