"""Activation patching between the runs with and without the prompt: which components carry its effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from promptscope.causal.components import At, Component, components
from promptscope.causal.effect import Positions, PromptEffect, effect_on
from promptscope.causal.inputs import make_inputs
from promptscope.causal.running import Condition, in_turn, plain
from promptscope.causal.shares import as_shares
from promptscope.causal.variants import Variant, positions_of, run_variants
from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.models import HookedModel
from promptscope.probes import ProbeResult
from promptscope.prompts import Prompt
from promptscope.tasks import Task

Direction = Literal["restore", "destroy"]
DIRECTIONS: tuple[Direction, ...] = ("restore", "destroy")


@checked(batch_size=1, limit=1)
@in_turn
def patch(
    model: HookedModel,
    prompt: Prompt,
    task: Task,
    at: At = "heads",
    direction: Direction = "restore",
    source: Prompt | None = None,
    layers: Sequence[int] | None = None,
    split: str = "test",
    limit: int | None = 64,
    positions: Positions = "shared",
    batch_size: int = 16,
    progress: bool = False,
) -> ProbeResult:
    """Patch one component after the other between the run with the prompt and the run without it (activation patching).

    A component's output at all text positions is replaced by its output in the other run. With a, b and m the `log
    p(gold)` in nats of the run without the prompt (the plain run), the run with it (the prompted run) and the patched
    run, over inputs x:

    - `restore` (denoising): the plain run gets the prompted run's output; `share = mean_x(m - a) / mean_x(b - a)`. 1 =
      this output alone brings back the whole effect, 0 = none of it.
    - `destroy` (noising): the prompted run gets the plain run's output; `share = mean_x(b - m) / mean_x(b - a)`. 1 =
      without this output the whole effect is lost, 0 = none of it.

    Shares can be below 0 or above 1, and the shares of several components need not add up to 1. Where the effect is too
    small to be divided by, shares are NaN; `data["nats"]` has the numerators in any case. Every component is run by
    itself and exactly; `ps.causal.attribution_patch` is a faster estimate. Outputs at the prompt's own positions are
    not patched.

    Args:
        at: `"heads"` (outputs of attention heads before W_O), `"ffn"` (FFN outputs) or `"residual"` (the residual
            stream after each layer).
        source: with `restore`: take the outputs from a run with this prompt instead. A random prompt of the same norms
            (`ps.random_like(prompt)`) gives the null.
        layers: the layers to patch; by default all.
        split, limit, positions, batch_size: as in `ps.causal.effect`.
        progress: show a progress bar.

    Returns:
        Shares with their 95 % intervals over inputs; dimensions `layer` and, for heads, `head`; in encoder-decoders
        also `part`.

    Raises:
        ProbeError: unknown *at* or *direction*, a layer that the model does not have, or *source* with `destroy`. Other
            errors as in `ps.causal.effect`.

    Reference: Vig et al. 2020; Meng et al. 2022; Zhang & Nanda 2024 (the two directions, and log-probability as the
    measure).

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> result = ps.causal.patch(model, ps.DeepPrompt(2).bind(model), task, limit=4)
    >>> result.data["nats"].dims, result.data["nats"].shape
    (('layer', 'head'), (6, 5))
    """
    inputs = make_inputs(model, prompt, task, split, limit)
    found = effect_on(model, prompt, inputs, positions, batch_size)
    return patch_on(model, prompt, found, at, direction, source, layers, batch_size, progress)


def patch_on(
    model: HookedModel,
    prompt: Prompt,
    effect: PromptEffect,
    at: At = "heads",
    direction: Direction = "restore",
    source: Prompt | None = None,
    layers: Sequence[int] | None = None,
    batch_size: int = 16,
    progress: bool = False,
) -> ProbeResult:
    """The same as `patch`, for an effect that is measured already (*effect*, of `ps.causal.effect`)."""
    every = components(model, at)
    wanted = wanted_of(every, layers, model)
    moved = patched_nats(
        model, prompt, effect, [Variant((one,)) for one in wanted], direction, source, batch_size, progress
    )
    dims, coords = layout(wanted)
    what = {"heads": "a head's output", "ffn": "an FFN's output", "residual": "the residual stream after a layer"}[at]
    return as_shares(
        arranged(moved.T, wanted),
        effect,
        dims,
        coords,
        f"patch_{at}_{direction}",
        title_of(direction, what),
        MEANING[direction],
        about={"at": at, "direction": direction, "source": None if source is None else source.content_hash()},
    )


def patch_places(
    model: HookedModel,
    prompt: Prompt,
    effect: PromptEffect,
    direction: Direction = "restore",
    layers: Sequence[int] | None = None,
    batch_size: int = 16,
) -> ProbeResult:
    """Patch the residual stream after each layer at some of the text's positions: dimensions `layer` and `place`.

    The places are the fields of the task's template by name, `template` (its fixed words and special tokens) and
    `answer` (the position that predicts the answer, and the answer's own tokens). Only the main stack is patched, which
    is the encoder in encoder-decoders. Otherwise as `patch(at="residual")`.
    """
    stack = model.family.stacks[0]
    wanted = [one for one in wanted_of(components(model, "residual"), layers, model) if one.stack == stack]
    names: dict[str, None] = {}
    for chosen, batch in effect.inputs.batches(model, len(effect.inputs)):
        names |= dict.fromkeys(sorted(positions_of(effect.inputs, chosen, batch)))
    variants = [Variant((one,), name) for one in wanted for name in names]
    # One name can be missing in a batch: then there is nothing to patch in it.
    moved = patched_nats(model, prompt, effect, variants, direction, None, batch_size)
    return as_shares(
        moved.T.reshape(-1, len(wanted), len(names)),
        effect,
        ("layer", "place"),
        {"layer": [one.layer for one in wanted], "place": list(names)},
        f"patch_places_{direction}",
        title_of(direction, "the residual stream at some positions"),
        MEANING[direction],
        about={"direction": direction},
    )


def patched_nats(
    model: HookedModel,
    prompt: Prompt,
    effect: PromptEffect,
    variants: Sequence[Variant],
    direction: Direction,
    source: Prompt | None = None,
    batch_size: int = 16,
    progress: bool = False,
) -> Float[np.ndarray, "V X"]:
    """Return by how many nats of log p(gold) each variant moves the patched run towards the other run: (V, X)."""
    if direction not in MEANING:
        raise ProbeError(f"direction must be 'restore' or 'destroy', got {direction!r}")
    if source is not None and direction == "destroy":
        raise ProbeError(
            "source can only be given with direction='restore': with 'destroy' outputs "
            "come from the run without a prompt"
        )
    without, within = plain(model, prompt, effect.positions), Condition(prompt)
    base, other = (without, within) if direction == "restore" else (within, without)
    if source is not None:
        other = Condition(source)
    found = run_variants(model, effect.inputs, base, other, variants, batch_size, direction, progress)[:, 0]
    return found - effect.plain.gold if direction == "restore" else effect.prompted.gold - found


MEANING = {
    "restore": "higher = more of the effect is brought back; 1 = all",
    "destroy": "higher = more of the effect is lost without it; 1 = all",
}


def title_of(direction: str, what: str) -> str:
    if direction == "restore":
        return f"Share of the effect that {what} brings back"
    return f"Share of the effect that is lost without {what}"


def wanted_of(every: Sequence[Component], layers: Sequence[int] | None, model: HookedModel) -> list[Component]:
    if layers is None:
        return list(every)
    there = {one.layer for one in every}
    wrong = sorted(set(layers) - there)
    if wrong or not layers:
        raise ProbeError(f"layers must be one or more of 0..{max(there)} for {model.name!r}, got {wrong or 'none'}")
    return [one for one in every if one.layer in set(layers)]


def layout(wanted: Sequence[Component]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return dimensions and coordinates of a table over *wanted*: `layer`, and `part` and `head` if they differ."""
    coords: dict[str, Any] = {
        "part": list(dict.fromkeys(one.part for one in wanted)),
        "layer": list(dict.fromkeys(one.layer for one in wanted)),
        "head": list(dict.fromkeys(one.head for one in wanted)),
    }
    if len(coords["part"]) == 1:
        del coords["part"]
    if coords["head"] == [None]:
        del coords["head"]
    return tuple(coords), coords


def arranged(moved: Float[np.ndarray, "X V"], wanted: Sequence[Component]) -> Float[np.ndarray, X * dims]:
    """Arrange the numbers of *wanted*, one column each, as `layout` says; NaN where there is no such component."""
    dims, coords = layout(wanted)
    table = np.full((len(moved), *(len(coords[dim]) for dim in dims)), np.nan)
    for column, one in enumerate(wanted):
        table[(slice(None), *(coords[dim].index(getattr(one, dim)) for dim in dims))] = moved[:, column]
    return table
