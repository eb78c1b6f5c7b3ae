"""Many variants of one run: in each, the outputs of some components are replaced by those of another run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from promptscope.causal.components import Component
from promptscope.causal.inputs import Inputs
from promptscope.causal.running import Condition, Start, behind_cache, can_start_anywhere, entry_point, run
from promptscope.models import Hook, HookedModel
from promptscope.progress import progress_bar
from promptscope.tasks import Batch

_TEXTS_AT_ONCE = 96  # copies of texts in a pass: enough to fill the kernels, and a few hundred megabytes


@dataclass(frozen=True)
class Variant:
    """Components whose outputs are replaced together, at all text positions or only at those that `where` names."""

    components: tuple[Component, ...]
    where: str | None = None


Places = Mapping[str, Float[Tensor, "B n"] | Bool[Tensor, "B n"]]
"""Names of text positions: which positions of each text of a batch have the name."""


@torch.no_grad()
def run_variants(
    model: HookedModel,
    inputs: Inputs,
    base: Condition,
    source: Condition,
    variants: Sequence[Variant],
    batch_size: int = 16,
    label: str = "patch",
    progress: bool = False,
) -> Float[np.ndarray, "V 3 X"]:
    """Run *base* with the outputs of each variant's components taken from *source*, at the same text positions.

    Returns gold log-probability, logit difference and correctness of each of V variants on each of X inputs. The result
    is exact, although a variant runs only from its lowest layer on, from the residual stream that the whole run had
    there, and although the prompt positions of a causal model, which nothing at text positions can change, are not run
    again.
    """
    found = np.empty((len(variants), 3, len(inputs)))
    skipping = can_start_anywhere(model)
    groups = _by_start(model, variants, skipping)
    points = sorted({one.point for variant in variants for one in variant.components})
    entries = [entry_point(model, layer) for layer in groups if layer is not None]
    batches, mine = list(inputs.batches(model, batch_size)), behind_cache(model, base)
    with progress_bar(total=len(batches) * len(variants), desc=label, unit="run", shown=progress) as bar:
        for chosen, batch in batches:
            places = positions_of(inputs, chosen, batch)
            _, left = run(model, batch, mine, keep=entries) if entries else (None, {})
            _, theirs = run(model, batch, source, keep=points)
            for layer, members in groups.items():
                start = None if layer is None else Start(layer, left[entry_point(model, layer)])
                at_once = max(1, _TEXTS_AT_ONCE // len(chosen))
                for first in range(0, len(members), at_once):
                    numbers = members[first : first + at_once]
                    some = [variants[i] for i in numbers]
                    hooks = _hooks(model, some, theirs, batch, mine, source, places)
                    logits, _ = run(model, batch, mine, hooks, copies=len(some), start=start)
                    read = inputs.read(batch, logits).reshape(3, len(some), len(chosen))
                    for copy, number in enumerate(numbers):
                        found[number][:, chosen] = read[:, copy]
                    bar.update(len(some))
    return found


def positions_of(inputs: Inputs, chosen: np.ndarray, batch: Batch) -> dict[str, Bool[Tensor, "B n"]]:
    """Return name -> text positions of a batch: the template's fields by name, `template`, and `answer`.

    `answer` is the position that predicts the answer, and the answer's own tokens after it. Every real token has one
    name; padding has none.
    """
    width = batch.input_ids.shape[1]
    names: dict[str, Bool[Tensor, "B n"]] = {}
    for row, i in enumerate(chosen):
        example = inputs.examples[i]
        for position, segment in enumerate(example.segments):
            name = _place(segment, position, example.label_start, batch.decoder_input_ids is not None)
            if name not in names:
                names[name] = torch.zeros(len(chosen), width, dtype=torch.bool, device=batch.input_ids.device)
            names[name][row, position] = True
    return names


def _place(segment: str, position: int, label_start: int, seq2seq: bool) -> str:
    if not seq2seq and (position == label_start - 1 or segment in ("label", "end")):
        return "answer"
    return "template" if segment in ("literal", "special", "label", "end") else segment


def _by_start(model: HookedModel, variants: Sequence[Variant], skipping: bool) -> dict[int | None, list[int]]:
    groups: dict[int | None, list[int]] = {}
    for number, variant in enumerate(variants):
        lowest = min((one.layer for one in variant.components), default=0)
        groups.setdefault(lowest if skipping and lowest > 0 else None, []).append(number)
    return groups


def _hooks(
    model: HookedModel,
    variants: Sequence[Variant],
    theirs: Mapping[str, Tensor],
    batch: Batch,
    base: Condition,
    source: Condition,
    places: Mapping[str, Tensor],
) -> list[Hook]:
    """Return one hook for each point that any variant writes to; copy c of the batch belongs to variant c."""
    writes: dict[str, dict[int, list[Component]]] = {}
    for copy, variant in enumerate(variants):
        for one in variant.components:
            writes.setdefault(one.point, {}).setdefault(copy, []).append(one)
    to, of = base.offsets(model), source.offsets(model)
    return [(point, _write(copies, variants, theirs[point], batch, to, of, places)) for point, copies in writes.items()]


def _write(
    copies: Mapping[int, list[Component]],
    variants: Sequence[Variant],
    theirs: Tensor,
    batch: Batch,
    to: Mapping[str, int],
    of: Mapping[str, int],
    places: Mapping[str, Tensor],
):
    def write(x: Tensor, hook: object) -> Tensor:
        new = x.clone().unflatten(0, (len(variants), len(batch)))
        for copy, members in copies.items():
            stream = members[0].stream
            n = x.shape[1] - to[stream]
            text = theirs[:, of[stream] : of[stream] + n]
            mine = new[copy][:, to[stream] :]
            heads = [one.head for one in members]
            where = variants[copy].where
            if where is not None and where not in places:
                continue  # no text of this batch has it
            if where is not None:
                chosen = places[where].reshape(len(batch), n, *[1] * (mine.ndim - 2))
                text = torch.where(chosen, text, mine)
            if heads[0] is None:
                mine.copy_(text)
            else:
                mine[:, :, heads] = text[:, :, heads]
        return new.flatten(0, 1)

    return write
