"""Edges from prompt tokens to the heads that read them: which of them the answer depends on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.causal.components import Component
from promptscope.causal.effect import PromptEffect
from promptscope.causal.running import Condition, Start, behind_cache, can_start_anywhere, entry_point, run
from promptscope.causal.shares import as_shares
from promptscope.errors import ProbeError
from promptscope.models import HookedModel
from promptscope.probes import ProbeResult
from promptscope.prompts import Prompt


@torch.no_grad()
def paths_on(
    model: HookedModel,
    prompt: Prompt,
    effect: PromptEffect,
    heads: Sequence[Component],
    tokens: Sequence[int] | None = None,
    batch_size: int = 16,
) -> ProbeResult:
    """Return the share of the effect that is lost when one head cannot attend to one prompt token.

    `share = mean_x(b - m) / mean_x(b - a)`, where a and b are `log p(gold)` in nats without and with the prompt, and m
    that of the run in which, in this head alone, no text position attends to this prompt token. The head's other
    attention weights are renormalised to sum to 1, and everything after it runs as before; prompt positions still
    attend to each other. Higher = the answer depends more on this head reading this token.

    Dimensions `head` (by name) and `token`; token -1 = all of the prompt's tokens at once.

    Raises:
        ProbeError: no heads, a token that the prompt does not have, or heads whose keys do not include the prompt.
    """
    chosen_tokens = list(range(prompt.length) if tokens is None else tokens)
    if not heads or not all(0 <= token < prompt.length for token in chosen_tokens):
        raise ProbeError(
            f"expected at least one head, and tokens of 0..{prompt.length - 1}; got "
            f"{len(heads)} heads and tokens {chosen_tokens}"
        )
    slots = prompt.bind(model).slots(model)
    reading = [head for head in heads if model.family.attentions[head.part].keys in slots]
    if not reading:
        raise ProbeError(
            "none of these heads can attend to the prompt: name heads of layers, and of "
            "attention modules, in which it has keys"
        )
    condition, skipping = behind_cache(model, Condition(prompt)), can_start_anywhere(model)
    first_rows = condition.offsets(model)
    edges: list[int | None] = [None, *chosen_tokens]
    gold = np.empty((len(effect.inputs), len(reading), len(edges)))
    for chosen, batch in effect.inputs.batches(model, batch_size):
        entries = [entry_point(model, head.layer) for head in reading if head.layer] if skipping else []
        _, left = run(model, batch, condition, keep=entries)
        at_once = max(1, 96 // len(chosen))
        for row, head in enumerate(reading):
            start = Start(head.layer, left[entry_point(model, head.layer)]) if skipping and head.layer else None
            point = head.point.replace("hook_z", "hook_attn_scores")
            attention = model.family.attentions[head.part]
            k, text = slots[attention.keys], first_rows[attention.queries]
            for first in range(0, len(edges), at_once):
                some = edges[first : first + at_once]
                hooks = [(point, _cut(int(head.head or 0), some, k, text, len(chosen)))]
                logits, _ = run(model, batch, condition, hooks, copies=len(some), start=start)
                read = effect.inputs.read(batch, logits)[0].reshape(len(some), len(chosen))
                gold[chosen, row, first : first + len(some)] = read.T
    return as_shares(
        effect.prompted.gold[:, None, None] - gold,
        effect,
        ("head", "token"),
        {"head": [str(head) for head in reading], "token": [-1, *chosen_tokens]},
        "paths",
        "Share of the effect that is lost when one head cannot attend to one prompt token",
        "higher = the answer depends more on this head reading this token; token -1 = all tokens",
    )


def _cut(head: int, edges: Sequence[int | None], k: int, text: int, size: int):
    def cut(scores: Float[Tensor, "B head T S"], hook: object) -> Tensor:
        lowest = max(torch.finfo(scores.dtype).min, torch.finfo(torch.float32).min)
        new = scores.clone().unflatten(0, (len(edges), size))
        for copy, token in enumerate(edges):
            columns = slice(0, k) if token is None else slice(token, token + 1)
            new[copy, :, head, text:, columns] = lowest
        return new.flatten(0, 1)

    return cut
