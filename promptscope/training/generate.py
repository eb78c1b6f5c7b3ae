"""Greedy generation behind a soft prompt."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import GenerationConfig

from promptscope.errors import TaskError
from promptscope.models import HookedModel
from promptscope.models.layout import prepend_slots, to_right_padding
from promptscope.models.prefix import attend_with
from promptscope.prompts import Prompt


@torch.no_grad()
def generate(
    model: HookedModel,
    input_ids: Int[Tensor, "B n"],
    attention_mask: Int[Tensor, "B n"] | None = None,
    prompt: Prompt | None = None,
    max_new_tokens: int = 20,
    stop_ids: Sequence[int] = (),
) -> list[list[int]]:
    """Return each row's greedy continuation, without the stop token.

    A padded batch gives every row the tokens that it gets alone: rows keep their own positions, on either side of
    padding (PEFT's batched generation does not).

    Raises:
        TaskError: masked language models do not generate.
    """
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    input_ids, mask = input_ids.to(model.device), mask.to(model.device)
    if model.family.kind == "masked":
        raise TaskError(f"{model.name!r} is a masked language model and does not generate: use a verbalizer")
    if model.family.kind == "causal":
        new = _causal(model, input_ids, mask, prompt, max_new_tokens, stop_ids)
    else:
        new = _seq2seq(model, input_ids, mask, prompt, max_new_tokens, stop_ids)
    return [_until_stop(row, stop_ids) for row in new.tolist()]


def _causal(
    model: HookedModel, ids: Tensor, mask: Tensor, prompt: Prompt | None, n_new: int, stop_ids: Sequence[int]
) -> Tensor:
    # generate() appends at the right end, so padding goes left: the reverse of the right-padding order.
    order = to_right_padding(1 - mask)
    ids, mask = ids.gather(1, order), mask.gather(1, order)
    k = prompt.length if prompt is not None else 0
    model.check_context(ids.shape[1] + n_new, k)
    settings = GenerationConfig(
        max_new_tokens=n_new,
        do_sample=False,
        use_cache=True,
        eos_token_id=list(stop_ids) or None,
        pad_token_id=stop_ids[0] if stop_ids else 0,
    )
    if prompt is None:
        out = model.twin.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
        return out[:, ids.shape[1] :]
    prefix = prompt.bind(model).prefix(model)
    with attend_with(prefix, model.twin):
        # The placeholders stand for what is in the cache: generate() skips them and counts positions from the mask.
        out = model.twin.generate(
            input_ids=prepend_slots(ids, k, fill=0),
            attention_mask=prepend_slots(mask, k, fill=1),
            past_key_values=prefix.cache(len(ids)),
            generation_config=settings,
        )
    return out[:, k + ids.shape[1] :]


def _seq2seq(
    model: HookedModel, ids: Tensor, mask: Tensor, prompt: Prompt | None, n_new: int, stop_ids: Sequence[int]
) -> Tensor:
    order = to_right_padding(mask)
    ids, mask = ids.gather(1, order), mask.gather(1, order)
    slots = prompt.bind(model).slots(model) if prompt is not None else {}
    ids = prepend_slots(ids, slots.get("encoder", 0), fill=0)
    mask = prepend_slots(mask, slots.get("encoder", 0), fill=1)
    inner = model.bridge.original_model
    # Without a cache: a deep prompt is written into the decoder's keys at every step. Targets are a few tokens.
    with model.hooks(prompt.hooks(model) if prompt is not None else []):
        encoded = inner.encoder(input_ids=ids, attention_mask=mask)
        new = torch.full((len(ids), 1), model.decoder_start_id, device=model.device)
        done = torch.zeros(len(ids), dtype=torch.bool, device=model.device)
        for _ in range(n_new):
            decoder_ids = prepend_slots(new, slots.get("decoder", 0), fill=0)
            logits = inner(
                encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=decoder_ids, use_cache=False
            ).logits
            token = logits[:, -1].argmax(-1)
            new = torch.cat([new, token[:, None]], dim=1)
            done |= torch.isin(token, torch.tensor(list(stop_ids), device=model.device))
            if done.all():
                break
    return new[:, 1:]


def _until_stop(row: list[int], stop_ids: Sequence[int]) -> list[int]:
    return row[: next((i for i, token in enumerate(row) if token in stop_ids), len(row))]
