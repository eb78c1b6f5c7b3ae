"""Is a deep prompt's effect in its keys or its values? They are replaced by those of another prompt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from promptscope.causal.effect import Positions, PromptEffect, effect_on
from promptscope.causal.inputs import make_inputs
from promptscope.causal.running import Condition, Start, can_start_anywhere, entry_point, in_turn, run
from promptscope.causal.shares import as_shares
from promptscope.checks import checked
from promptscope.errors import PromptError
from promptscope.models import Hook, HookedModel
from promptscope.probes import ProbeResult
from promptscope.prompts import DeepPrompt, Prompt
from promptscope.tasks import Task

ROLES = ("keys", "values")


@checked(batch_size=1, limit=1)
@in_turn
def swap_layers(
    model: HookedModel,
    prompt: Prompt,
    task: Task,
    other: Prompt,
    layers: Sequence[int] | None = None,
    split: str = "test",
    limit: int | None = 64,
    positions: Positions = "shared",
    batch_size: int = 16,
) -> ProbeResult:
    """Return the share of the effect that is lost when a deep prompt's keys, or values, come from another prompt.

    `share = mean_x(b - m) / mean_x(b - a)`, with a, b and m the `log p(gold)` in nats without the prompt, with it, and
    with the keys (or values) of one layer replaced by those of *other*. 0 = nothing is lost, 1 = the whole effect.
    Dimensions `role` (`keys`, `values`) and `layer`; layer -1 = all layers at once.

    If keys only decide which inputs attend to the prompt, and values hold what it adds (Diaz 2025; Cartridges 2025),
    replacing all keys loses little and replacing all values much.

    Args:
        other: a prompt of the same kind and length, such as the untrained one, a random one (`ps.random_like(prompt)`),
            or one trained on another task.
        layers: the layers to replace, one at a time; by default all.

    Raises:
        PromptError: *prompt* and *other* are not two untied deep prompts of the same shape. Other errors as in
            `ps.causal.effect`.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> prompt = ps.DeepPrompt(2).bind(model)
    >>> same = ps.causal.swap_layers(model, prompt, task, prompt.copy(), layers=[3], limit=4)
    >>> same.data["nats"].values.tolist()  # its own keys and values: nothing is lost
    [[0.0, 0.0], [0.0, 0.0]]
    """
    found = effect_on(model, prompt, make_inputs(model, prompt, task, split, limit), positions, batch_size)
    return swap_layers_on(model, prompt, found, other, layers, batch_size)


@torch.no_grad()
def swap_layers_on(
    model: HookedModel,
    prompt: Prompt,
    effect: PromptEffect,
    other: Prompt,
    layers: Sequence[int] | None = None,
    batch_size: int = 16,
) -> ProbeResult:
    """The same as `swap_layers`, for an effect that is measured already (*effect*, of `ps.causal.effect`)."""
    check_swap(model, prompt, other)
    assert isinstance(prompt, DeepPrompt)
    wanted = list(prompt.chosen_layers(model) if layers is None else layers)
    columns = [(role, layer) for role in ROLES for layer in (-1, *wanted)]
    condition, skipping = Condition(prompt), can_start_anywhere(model)
    gold = np.empty((len(effect.inputs), len(columns)))
    for chosen, batch in effect.inputs.batches(model, batch_size):
        _, left = run(model, batch, condition, keep=[entry_point(model, i) for i in wanted if i] if skipping else [])
        for column, (role, layer) in enumerate(columns):
            start = Start(layer, left[entry_point(model, layer)]) if skipping and layer > 0 else None
            logits, _ = run(model, batch, condition, _theirs(model, other, role, layer), start=start)
            gold[chosen, column] = effect.inputs.read(batch, logits)[0]
    return as_shares(
        (effect.prompted.gold[:, None] - gold).reshape(len(gold), 2, -1),
        effect,
        ("role", "layer"),
        {"role": list(ROLES), "layer": [-1, *wanted]},
        "swap_layers",
        "Share of the effect that is lost when keys or values come from another prompt",
        "higher = more is lost; layer -1 = all layers at once",
        about={"other": other.content_hash()},
    )


def check_swap(model: HookedModel, prompt: Prompt, other: Prompt) -> None:
    """Raise PromptError unless the keys or the values of *prompt* can be replaced by those of *other*."""
    ok = isinstance(prompt, DeepPrompt) and isinstance(other, DeepPrompt)
    if not ok:
        raise PromptError(
            f"keys and values can be swapped between two ps.DeepPrompt only, got {prompt!r} and {other!r}"
        )
    assert isinstance(prompt, DeepPrompt) and isinstance(other, DeepPrompt)
    if prompt.tied or other.tied:
        raise PromptError("a tied prompt has one vector as key and value: train one with tied=False to swap them")
    mine = (prompt.length, prompt.chosen_layers(model), prompt.chosen_parts(model))
    theirs = (other.length, other.chosen_layers(model), other.chosen_parts(model))
    if mine != theirs:
        raise PromptError(
            f"both prompts must have the same (length, layers, parts) to swap keys or values, got {mine} and {theirs}"
        )


def _theirs(model: HookedModel, other: Prompt, role: str, layer: int) -> list[Hook]:
    """Return the hooks with which *other* writes its keys or values in one layer, or in all (-1)."""
    end = f".hook_{role[0]}"
    hooks = [(name, fn) for name, fn in other.bind(model, strict=False).hooks(model) if str(name).endswith(end)]
    return [(name, fn) for name, fn in hooks if layer < 0 or f".{layer}." in name]
