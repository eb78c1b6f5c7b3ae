"""In which layers the text reads the prompt: attention to the prompt is cut in some of them."""

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
    "from": "attention to the prompt cut in this layer and all above; higher = the layers below suffice",
    "up_to": "attention to the prompt cut in this layer and all below; higher = the layers above suffice",
    "window": "attention to the prompt cut in a window of layers that begins here; lower = this window matters",
}
_WHERE = {"from": "from a layer upwards", "up_to": "up to a layer", "window": "in a window of layers"}


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
    """Return the share of the effect that is kept when the text cannot attend to the prompt in some layers.

    `share = mean_x(m(x) - a(x)) / mean_x(b(x) - a(x))`, where a, b and m are `log p(gold)` in nats of the run without
    the prompt, the run with it, and the run in which text positions do not attend to prompt positions in some layers. 1
    = nothing is lost, 0 = all is lost. Prompt positions still attend to each other. NaN where the effect is too small
    to be divided by; `data["nats"]` has the numerator in any case.

    In causal models, cutting from layer l upwards is the same as patching the residual stream that enters layer l from
    the run without the prompt. In encoder-decoders layers are numbered through: the encoder's 0 to L - 1, then the
    decoder's from L on.

    Args:
        span: which layers are cut, for each entry l of the dimension `layer`: `"from"` l upwards, `"up_to"` l (l
            included), or a `"window"` of *width* layers from l on.
        width: of the windows; by default a sixth of the layers.
        layers: the values of l; by default all layers.

    Raises:
        ProbeError: an unknown span, a layer that the model does not have, or a width below 1. Other errors as in
            `ps.causal.effect`.

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
    """The same as `cut_layers`, for an effect that is measured already (*effect*, of `ps.causal.effect`)."""
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
        f"Share of the effect that is kept without attention to the prompt {_WHERE[span]}",
        _MEANING[span],
        about={"span": span, "width": width if span == "window" else None},
    )


def _hide_in(
    model: HookedModel, prompt: Prompt, places: Sequence[tuple[str, int]], rows: Mapping[str, int]
) -> list[Hook]:
    """Return hooks that hide the prompt's keys from the text in every attention module of these layers that has them.

    *rows*: for each stream, the index of the first text position among the queries.
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
