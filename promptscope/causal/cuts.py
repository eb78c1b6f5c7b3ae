"""Where the model reads its prompt: attention to it cut in some of the layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.causal.effect import Positions, PromptEffect, effect_on
from promptscope.causal.inputs import make_inputs
from promptscope.causal.running import Condition, Start, behind_cache, can_start_anywhere, entry_point, in_turn, run
from promptscope.causal.shares import as_shares
from promptscope.checks import checked
from promptscope.models import Hook, HookedModel
from promptscope.probes import ProbeResult
from promptscope.prompts import Prompt
from promptscope.tasks import Task

Span = Literal["from", "up_to", "window"]

_MEANING = {
    "from": "prompt cut in this layer and all above; higher = the layers below are enough",
    "up_to": "prompt cut in this layer and all below; higher = the layers above are enough",
    "window": "prompt cut in the layers of a window that begins here; lower = this window matters",
}


@checked(batch_size=1, limit=1, width=1)
@in_turn
def cut_layers(
    model: HookedModel,
    prompt: Prompt,
    task: Task,
    span: Span = "from",
    width: int | None = None,
    layers: Sequence[int] | None = None,
    split: str = "test",
    limit: int | None = 64,
    positions: Positions = "shared",
    batch_size: int = 16,
) -> ProbeResult:
    """Return the share of the effect that is kept when the text does not see the prompt's keys in some layers.

    `mean_x(m - a) / mean_x(b - a)` with m the run in which the text's attention to the prompt is cut `from` layer l
    upwards, `up_to` layer l, or in a `window` of *width* layers from l on (default: a sixth of the layers); 1 = nothing
    is lost. What prompt tokens read of each other is left as it was.
    On models with causal attention, cutting from l upwards is the same as patching the residual stream that enters l
    into the plain run. Layers of encoder-decoders have consecutive numbers: the encoder's first, then the
    decoder's (`layer` L + i).

    Raises as `ps.causal.effect` does.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> result = ps.causal.cut_layers(model, ps.DeepPrompt(2).bind(model), task, limit=4, layers=[0, 3])
    >>> result.data["nats"].values[0].round(4).item()  # cut everywhere: nothing is left
    0.0
    """
    found = effect_on(model, prompt, make_inputs(model, prompt, task, split, limit), positions, batch_size)
    return cut_layers_on(model, prompt, found, span, width, layers, batch_size)


@torch.no_grad()
def cut_layers_on(
    model: HookedModel,
    prompt: Prompt,
    effect: PromptEffect,
    span: Span = "from",
    width: int | None = None,
    layers: Sequence[int] | None = None,
    batch_size: int = 16,
) -> ProbeResult:
    """Do as `cut_layers` does where the effect is known already."""
    places = [(stack, layer) for stack in model.family.stacks for layer in range(model.layers[stack])]
    wanted = list(range(len(places)) if layers is None else layers)
    width = max(1, round(len(places) / 6)) if width is None else width
    spans = {
        "from": lambda i: range(i, len(places)),
        "up_to": lambda i: range(i + 1),
        "window": lambda i: range(i, min(i + width, len(places))),
    }
    condition, skipping = behind_cache(model, Condition(prompt)), can_start_anywhere(model)
    rows = condition.offsets(model)
    gold = np.empty((len(effect.inputs), len(wanted)))
    for chosen, batch in effect.inputs.batches(model, batch_size):
        entries = sorted({entry_point(model, spans[span](i)[0]) for i in wanted}) if skipping else []
        _, left = run(model, batch, condition, keep=entries)
        for column, i in enumerate(wanted):
            lowest = spans[span](i)[0]
            start = Start(lowest, left[entry_point(model, lowest)]) if skipping and lowest else None
            hidden = _hide_in(model, prompt, [places[j] for j in spans[span](i)], rows)
            logits, _ = run(model, batch, condition, hidden, start=start)
            gold[chosen, column] = effect.inputs.read(batch, logits)[0]
    return as_shares(
        gold - effect.plain.gold[:, None],
        effect,
        ("layer",),
        {"layer": wanted},
        f"cut_{span}",
        f"Share of the effect that is kept, prompt cut {span.replace('_', ' ')} a layer",
        _MEANING[span],
        about={"span": span, "width": width if span == "window" else None},
    )


def _hide_in(
    model: HookedModel, prompt: Prompt, places: Sequence[tuple[str, int]], rows: Mapping[str, int]
) -> list[Hook]:
    """Hide the prompt's keys from the text in every attention of these layers that has them.

    *rows*: where the text begins among the queries of each stream.
    """
    slots = prompt.slots(model)
    return [
        (f"{stack}.{layer}.{attention.module}.hook_attn_scores", _hide(slots[attention.keys], rows[attention.queries]))
        for stack, layer in places
        for attention in model.family.attentions.values()
        if attention.stack == stack and attention.keys in slots
    ]


def _hide(k: int, text: int):
    def hide(scores: Float[Tensor, "B head T S"], hook: object) -> Tensor:
        # A finite number: a row of which every key is hidden must not be NaN.
        new = scores.clone()
        new[:, :, text:, :k] = max(torch.finfo(scores.dtype).min, torch.finfo(torch.float32).min)
        return new

    return hide
