"""Continuing targets from cached keys and values, on encoder-decoders; sources are encoded once."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from promptscope.engine.attention import How, running
from promptscope.engine.both_ways import attend_all
from promptscope.engine.causal import KeysValues, after_prompt, in_front
from promptscope.engine.rows import Rows
from promptscope.engine.seq2seq import Sources, band_of, read_sources, relative_bias, run_decoder
from promptscope.engine.settings import kernel
from promptscope.models import HookedModel, Placement
from promptscope.models.facts import Facts


@dataclass
class _Step:
    """A pass over m new target tokens of each of R texts."""

    sources: Sources
    targets: Rows
    crossed: dict[int, KeysValues]  # what the decoder sees of the sources: the same at every step
    past: dict[int, KeysValues]
    facts: Facts
    own: dict[int, KeysValues] = field(default_factory=dict)

    def attend(self, module: Any, query: Tensor, key: Tensor, value: Tensor, how: How) -> Tensor:
        """Attend from new tokens to the whole source and to earlier target tokens."""
        part, layer = self.facts.parts[module]
        front = in_front(self.sources.prefixes.get(part), layer)
        if part == "cross":
            k, v = self.crossed.setdefault(layer, (key, value))
            crossed = replace(how, bias=None)
            return attend_all(query, k, v, self.targets, self.sources.rows, front, self.sources.which, crossed)
        own = self.targets.pad(key), self.targets.pad(value)
        if layer in self.past:
            k, v = (torch.cat(pair, dim=1) for pair in zip(self.past[layer], own, strict=True))
        else:
            k, v = after_prompt(front, own, self.sources.which)
        self.own[layer] = k, v
        keys = Rows.even(len(k), k.shape[1], k.device)
        bias = None if how.bias is None else how.bias[..., -keys.width :]
        how, band = replace(how, bias=bias), band_of(self.facts, part, layer)
        return attend_all(query, k.flatten(0, 1), v.flatten(0, 1), self.targets, keys, None, None, how, band)


class TargetContinuation:
    """Encoded sources, and targets that can be continued after the start token; see `Continuation`."""

    def __init__(
        self,
        model: HookedModel,
        placements: Sequence[Placement],
        ids: Int[Tensor, "R n"],
        mask: Bool[Tensor, "R n"],
    ) -> None:
        self.model = model
        with kernel(model):
            self.sources = read_sources(model, ids, mask, placements)
        self.n_rows: int | None = None
        self.crossed: dict[int, KeysValues] = {}
        self.past: dict[int, KeysValues] = {}
        self.n_new = 0
        assert model.decoder_start_id is not None
        self.last = self.read(ids.new_full((len(ids), 1), model.decoder_start_id))[:, 0]
        self.started = self.past

    def rewind(self) -> None:
        """Remove all tokens after the start token."""
        self.past, self.n_new = self.started, 1

    def read(self, ids: Int[Tensor, "R m"]) -> Float[Tensor, "R m V"]:
        """Append *ids* to the targets and return the logits after each appended token."""
        targets = Rows.even(len(ids), ids.shape[1], ids.device)
        step = _Step(self.sources, targets, self.crossed, self.past, self.model.facts)
        prefix = self.sources.prefixes.get("decoder")
        first = self.n_new + (prefix.length if prefix is not None else 0)
        bias = relative_bias(self.model.facts, {"decoder": (first, ids.shape[1])})
        x = self.model.embed_targets(ids).flatten(0, 1)
        with kernel(self.model), running(self.model.twin, step), bias:
            logits = run_decoder(self.model, self.sources, x, first + targets.positions, self.n_rows)
        self.past, self.n_new = step.own, self.n_new + ids.shape[1]
        self.n_rows = 1  # keys and values of the sources are kept: nobody reads the rest again
        return logits.unflatten(0, ids.shape)
