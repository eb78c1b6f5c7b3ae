"""Activation patching between the plain and the prompted run: what carries the prompt's effect."""

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
    """Replace each component's output at the text positions by what it is in the other run; exact, one by one.

    `restore` (denoising): the plain run gets the prompted run's output, and the share is
    `mean_x(m(x) - a(x)) / mean_x(b(x) - a(x))`, where a, b and m are log p(gold) of the plain, the prompted and the
    patched run. `destroy` (noising): the prompted run gets the plain run's, and the share is `mean_x(b - m) /
    mean_x(b - a)`. 1 = the whole effect passes here (restore: it is enough; destroy: nothing else is), 0 = none of
    it; shares of several components need not add up to 1. Undefined (NaN) where the effect is too small: the numbers
    in nats are there still.

    What the prompt's own positions carry is not patched: with every head at all text positions patched, what is left is
    what the prompt does to the residual stream in other ways, which is nothing on the models here.

    Args:
        at: `heads` (outputs before W_O), `ffn` (FFN outputs) or `residual` (the stream after each layer).
        source: `restore` only: take the outputs from the run with this prompt instead; a random prompt of the same
            norms (`ps.random_like`) is the null.
        layers: some of the layers; all by default.
        positions: where text begins in the plain run, see `ps.causal.effect`.

    Returns:
        Shares with the dimensions `layer` and, for heads, `head`; on encoder-decoders also `part`.

    Raises:
        ProbeError: unknown kind or direction, a layer that there is not. Others as `ps.causal.effect`.

    Reference: Vig et al. 2020; Meng et al. 2022; Zhang & Nanda 2024 (directions, and log-probability as the measure).

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
    """Do as `patch` does where the effect is known already."""
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

    Places are the template's fields, `template` (its words and special tokens) and `answer` (where the answer is read,
    and its own tokens). Of the main stack; on encoder-decoders this is the encoder. Otherwise as
    `patch(at="residual")`.
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
    """Return how far each variant goes from the run that is patched towards the other, in nats on each input."""
    if direction not in MEANING:
        raise ProbeError(f"direction must be 'restore' or 'destroy', got {direction!r}")
    if source is not None and direction == "destroy":
        raise ProbeError("source goes with direction='restore': what is destroyed is replaced by the plain run")
    without, within = plain(model, prompt, effect.positions), Condition(prompt)
    base, other = (without, within) if direction == "restore" else (within, without)
    if source is not None:
        other = Condition(source)
    found = run_variants(model, effect.inputs, base, other, variants, batch_size, direction, progress)[:, 0]
    return found - effect.plain.gold if direction == "restore" else effect.prompted.gold - found


MEANING = {
    "restore": "higher = more of the effect comes with it; 1 = all",
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
        raise ProbeError(f"layers must name some of 0..{max(there)} of {model.name!r}, got {wrong or 'none'}")
    return [one for one in every if one.layer in set(layers)]


def layout(wanted: Sequence[Component]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return dimensions and coordinates of a table over *wanted*: `layer`, and `part`, `head` where they differ."""
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
    """Put the numbers of *wanted*, one column each, where `layout` says; NaN where there is no such component."""
    dims, coords = layout(wanted)
    table = np.full((len(moved), *(len(coords[dim]) for dim in dims)), np.nan)
    for column, one in enumerate(wanted):
        table[(slice(None), *(coords[dim].index(getattr(one, dim)) for dim in dims))] = moved[:, column]
    return table
