"""The gradient of the training loss, the mean cross-entropy over label and end tokens."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from jaxtyping import Int
from torch import Tensor

from promptscope.engine import checkpointed, over_passes, place
from promptscope.inference.targets import target_logits, target_losses, texts_of
from promptscope.models import HookedModel
from promptscope.prompts import Prompt
from promptscope.tasks import IGNORED, Batch, concatenate

Portion = tuple[int, Batch]
"""The number of a prompt, and a batch of the records of its step."""


def accumulate_gradient(
    model: HookedModel, prompt: Prompt, batches: Sequence[Batch], checkpointing: bool = False
) -> float:
    """Add the gradient of the mean loss over all target tokens of *batches* to the prompt's, and return the loss.

    The loss is in nats per target token. Activations of one batch are in memory at a time; with *checkpointing*, those
    of one layer. Since the mean is over tokens, results do not depend on how records are divided into batches.

    >>> import promptscope as ps
    >>> from promptscope.inference import batches, encode_split
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> prompt = ps.SoftPrompt(length=2).bind(model)
    >>> records = encode_split(model, prompt, task, "train", limit=4)
    >>> loss = accumulate_gradient(model, prompt, list(batches(model, records, batch_size=2)))
    >>> loss > 0, all(parameter.grad is not None for parameter in prompt.parameters())
    (True, True)
    """
    passes = [[(0, batch)] for batch in batches]
    return accumulate_gradients(model, [prompt], passes, checkpointing)[0]


def accumulate_gradients(
    model: HookedModel, prompts: Sequence[Prompt], passes: Sequence[Sequence[Portion]], checkpointing: bool = False
) -> list[float]:
    """Add to each prompt the gradient of its own mean loss, and return these losses (nats per target token).

    `passes[i]` is a list of pairs `(prompt number, batch)` that run together in one pass; a prompt may have batches in
    several passes. Prompts in one pass must be of the same kind and length. The backward pass is that of the sum of all
    losses; as no prompt's loss depends on another prompt, each gets exactly the gradient that it would get alone. A
    term that a prompt adds to the loss (`Prompt.penalty`) is part of its gradient, but not of the returned loss.

    >>> import promptscope as ps
    >>> from promptscope.inference import batches, encode_split
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> prompts = [ps.SoftPrompt(length=2, seed=seed).bind(model) for seed in range(2)]
    >>> (batch,) = batches(model, encode_split(model, prompts[0], task, "train", limit=2), batch_size=2)
    >>> len(accumulate_gradients(model, prompts, [[(0, batch), (1, batch)]]))  # one pass for both
    2
    """
    every = [_join(one) for one in passes]
    whole, of_record = _join([portion for one in passes for portion in one])
    counts = (whole.targets != IGNORED).sum(dim=1)
    n_targets = counts.new_zeros(len(prompts)).index_add(0, of_record, counts).tolist()
    losses = [0.0] * len(prompts)
    placements = place(model, prompts)
    alone = nullcontext((placements, None))  # a single pass has the prompts' rows in it
    with alone if len(passes) == 1 else over_passes(model, placements, texts_of(whole), of_record) as (placed, shared):
        for batch, of_record in every:
            numbers = sorted(set(of_record.tolist()))
            which = torch.searchsorted(torch.tensor(numbers, device=of_record.device), of_record)
            front = None if shared is None else shared.pick(numbers)
            mine = [placed[i] for i in numbers]
            with checkpointed(model, mine) if checkpointing else nullcontext():
                logits = target_logits(model, batch, mine, which, front)
            each = target_losses(batch, logits)
            of_target = of_record.repeat_interleave((batch.targets != IGNORED).sum(dim=1))
            parts = [each[of_target == i].sum() / n_targets[i] for i in numbers]
            torch.stack(parts).sum().backward()
            for i, part in zip(numbers, parts, strict=True):
                losses[i] += part.item()
    for prompt in prompts:
        penalty = prompt.penalty(model)
        if penalty is not None:
            penalty.backward()
    return losses


def _join(portions: Sequence[Portion]) -> tuple[Batch, Int[Tensor, "records"]]:
    """Concatenate the batches of all portions, and return the prompt number of each record."""
    batch = concatenate([part for _, part in portions])
    sizes = torch.tensor([len(part) for _, part in portions])
    of_record = torch.tensor([number for number, _ in portions]).repeat_interleave(sizes)
    return batch, of_record.to(batch.input_ids.device)
