"""Greedy generation behind a soft prompt."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from promptscope.checks import checked
from promptscope.engine import Shared, continue_texts, is_packed, share
from promptscope.errors import ModelError, TaskError
from promptscope.models import Hook, HookedModel
from promptscope.models.attached import attach
from promptscope.models.layout import prepend_slots, row_ends, to_right_padding
from promptscope.models.prefix import attend_with
from promptscope.prompts import Prompt

_TOKENS = (
    "Make both of text: parts = model.tokenizer(texts, return_tensors='pt', padding=True), then "
    "input_ids=parts['input_ids'], attention_mask=parts['attention_mask']; of one text without padding: ids[None]."
)


@checked(hints={"input_ids": _TOKENS, "attention_mask": _TOKENS}, max_new_tokens=0)
@torch.no_grad()
def generate(
    model: HookedModel,
    input_ids: Int[Tensor, "B n"],
    attention_mask: Int[Tensor, "B n"] | None = None,
    prompt: Prompt | None = None,
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
    """
    if model.family.kind == "masked":
        raise TaskError(f"{model.name!r} is a masked language model and does not generate: use a verbalizer")
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
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
    """Do as `generate` says, behind what was `share`d of all rows; padding in front of a text counts as positions."""
    prompts = [] if prompt is None else [prompt]
    if is_packed(model, prompts):
        way = _write_packed
    elif model.family.kind == "causal" and model.active_hooks():
        way = _write_hooked
    else:
        way = _write_causal if model.family.kind == "causal" else _write_seq2seq
    new = way(model, input_ids, attention_mask, prompt, max_new_tokens, stop_ids, shared)
    return [_until_stop(row, stop_ids) for row in new.tolist()]


def _write_packed(
    model: HookedModel,
    ids: Tensor,
    mask: Tensor,
    prompt: Prompt | None,
    n_new: int,
    stop_ids: Sequence[int],
    shared: Shared | None,
) -> Int[Tensor, "B m"]:
    texts = continue_texts(model, [] if prompt is None else [prompt], ids, mask, n_new, shared)

    def next_logits(new: Int[Tensor, "B m"]) -> Float[Tensor, "B V"]:
        return texts.read(new[:, -1:])[:, 0] if new.shape[1] else texts.last

    return _greedy(next_logits, ids.new_empty(len(ids), 0), n_new, stop_ids)


def _write_causal(
    model: HookedModel,
    ids: Tensor,
    mask: Tensor,
    prompt: Prompt | None,
    n_new: int,
    stop_ids: Sequence[int],
    shared: Shared | None,
) -> Int[Tensor, "B m"]:
    prefix = shared.prefix if shared is not None else None
    k = prefix.length if prefix is not None else 0
    lengths = row_ends(mask)
    model.check_context(int(lengths.max()) + n_new, k)
    cache = prefix.cache(len(ids)) if prefix is not None else DynamicCache()
    seen = prepend_slots(mask, k, fill=1)

    def read(ids: Tensor, positions: Tensor) -> Float[Tensor, "B n d_model"]:
        # The cache keeps the padding between a row's text and its new tokens; mask and positions pass over it.
        with attend_with(prefix, model.twin) if prefix is not None else nullcontext():
            return model.twin.base_model(
                input_ids=ids, attention_mask=seen, position_ids=positions, past_key_values=cache, use_cache=True
            ).last_hidden_state

    hidden = read(ids, torch.arange(k, k + ids.shape[1], device=ids.device).expand(ids.shape))
    last = hidden[torch.arange(len(ids), device=ids.device), lengths - 1]

    def next_logits(new: Int[Tensor, "B m"]) -> Float[Tensor, "B V"]:
        nonlocal seen
        m = new.shape[1]
        if m == 0:
            return model.unembed(last)
        seen = torch.cat([seen, seen.new_ones(len(new), 1)], dim=1)
        return model.unembed(read(new[:, -1:], (k + lengths + m - 1)[:, None])[:, 0])

    return _greedy(next_logits, ids.new_empty(len(ids), 0), n_new, stop_ids)


def _write_hooked(
    model: HookedModel,
    ids: Tensor,
    mask: Tensor,
    prompt: Prompt | None,
    n_new: int,
    stop_ids: Sequence[int],
    shared: Shared | None,
) -> Int[Tensor, "B m"]:
    """Run the bridge over all of every row, at every step: new tokens follow a row's text, padding follows them."""
    lengths = row_ends(mask)
    k = prompt.slots(model).get("encoder", 0) if prompt is not None else 0

    def next_logits(new: Int[Tensor, "B m"]) -> Float[Tensor, "B V"]:
        m = new.shape[1]
        at = lengths[:, None] + torch.arange(m, device=ids.device)
        rows, seen = pad(ids, (0, m)).scatter(1, at, new), pad(mask, (0, m)).scatter(1, at, 1)
        width = int(lengths.max()) + m
        logits = model.forward_hooked(rows[:, :width], seen[:, :width], prompt)
        return logits[torch.arange(len(ids), device=ids.device), k + lengths + m - 1]

    model.check_context(int(lengths.max()) + n_new, k)
    return _greedy(next_logits, ids.new_empty(len(ids), 0), n_new, stop_ids)


def _write_seq2seq(
    model: HookedModel,
    ids: Tensor,
    mask: Tensor,
    prompt: Prompt | None,
    n_new: int,
    stop_ids: Sequence[int],
    shared: Shared | None,
) -> Int[Tensor, "B m"]:
    slots = prompt.bind(model).slots(model) if prompt is not None else {}
    ids = prepend_slots(ids, slots.get("encoder", 0), fill=0)
    mask = prepend_slots(mask, slots.get("encoder", 0), fill=1)
    hooked = prompt is not None or bool(model.active_hooks())
    inner: Any = model.bridge.original_model if hooked else model.twin
    # Without a cache: a deep prompt is written into the decoder's keys at every step. Targets are a few tokens.
    with attach(model.bridge, first=prompt.hooks(model) if prompt is not None else []):
        encoded = inner.encoder(input_ids=ids, attention_mask=mask)
        start = ids.new_full((len(ids), 1), inner.config.decoder_start_token_id)

        def next_logits(new: Int[Tensor, "B m"]) -> Float[Tensor, "B V"]:
            decoder_ids = prepend_slots(torch.cat([start, new], dim=1), slots.get("decoder", 0), fill=0)
            out = inner(encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=decoder_ids, use_cache=False)
            return out.logits[:, -1]

        return _greedy(next_logits, ids.new_empty(len(ids), 0), n_new, stop_ids)


def _greedy(
    next_logits: Callable[[Tensor], Tensor], new: Int[Tensor, "B m"], n_new: int, stop_ids: Sequence[int]
) -> Int[Tensor, "B new"]:
    """Append the likeliest token until every row has stopped; rows that stopped earlier go on and are cut later."""
    stop = torch.tensor(list(stop_ids), dtype=new.dtype, device=new.device)
    while new.shape[1] < n_new and not torch.isin(new, stop).any(dim=1).all():
        new = torch.cat([new, next_logits(new).argmax(-1, keepdim=True)], dim=1)
    return new


def _until_stop(row: list[int], stop_ids: Sequence[int]) -> list[int]:
    return row[: next((i for i, token in enumerate(row) if token in stop_ids), len(row))]
