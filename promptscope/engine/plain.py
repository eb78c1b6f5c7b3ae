"""Unpacked passes over padded batches: the plain model with a prefix cache, or the bridge with the prompt's hooks."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from promptscope.engine.shared import Shared
from promptscope.engine.texts import Texts
from promptscope.models import HookedModel, Placement, hooks_of, prefix_of
from promptscope.models.attached import attach
from promptscope.models.layout import prepend_slots, row_ends
from promptscope.models.placement_prefix import nothing_seen
from promptscope.models.prefix import Prefix, attend_with


def plain_logits(
    model: HookedModel,
    texts: Texts,
    placements: Sequence[Placement] = (),
    which: Int[Tensor, "R"] | None = None,
    shared: Shared | None = None,
) -> Float[Tensor, "rows V"]:
    """Compute `promptscope.engine.logits` without packing, one prompt after the other."""
    if len(placements) <= 1 or which is None:
        prefix = shared.prefix if shared is not None else None
        return _of_one(model, texts, placements[0] if placements else None, prefix)
    every = [(texts.pick(which == g), placement) for g, placement in enumerate(placements)]
    by_prompt = torch.cat([_of_one(model, mine, placement, None) for mine, placement in every if len(mine)])
    order = which[texts.where.nonzero()[:, 0]].argsort(stable=True)  # rows of the answer, those of a prompt together
    return by_prompt[order.argsort()]


def _of_one(model: HookedModel, texts: Texts, placement: Placement | None, prefix: Prefix | None) -> Tensor:
    ids, mask, where = texts.ids, texts.mask.long(), texts.where
    if model.family.kind != "causal":
        return model.logits(
            ids,
            mask,
            placement,
            decoder_input_ids=texts.decoder_ids,
            unseen=texts.unseen,
            token_type_ids=texts.token_types,
        )[where]
    if model.needs_hooks([] if placement is None else [placement]):
        k = placement.length if placement is not None else 0
        return model.forward_hooked(ids, mask, placement)[:, k:][where]
    if placement is not None and prefix is None:
        prefix = prefix_of(placement, model)
    return model.unembed(model.hidden(ids, mask, prefix)[where])


class PlainContinuation:
    """Continues texts on the plain causal model, with a Hugging Face cache; see `Continuation`.

    After a text was read, the padding after it is moved before it, since attention windows and distance biases count
    columns. Only if some layers do not attend to the prefix, the padding stays, and is left out by mask and positions.
    """

    def __init__(
        self,
        model: HookedModel,
        placements: Sequence[Placement],
        ids: Int[Tensor, "R n"],
        mask: Tensor,
        room: int,
        shared: Shared | None = None,
    ) -> None:
        prefix = shared.prefix if shared is not None else None
        if prefix is None and placements:
            prefix = prefix_of(placements[0], model)
        self.model, self.prefix = model, prefix if prefix is not None else nothing_seen(model, 1, 0)
        self.lengths = row_ends(mask.long())
        model.rules.check_context(int(self.lengths.max()) + room, self.prefix.length)
        self.cache = self.prefix.cache(len(ids)) if prefix is not None else DynamicCache()
        self.seen = prepend_slots(mask.long(), self.prefix.n_keys, fill=1)
        self.width, self.n_new = self.seen.shape[1], 0
        steps = torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
        hidden = self._read(ids, self.prefix.length + steps)
        self.last = model.unembed(hidden[torch.arange(len(ids), device=ids.device), self.lengths - 1])
        if len(self.prefix.layers) == model.shape.n_layers:
            self._close_gaps(ids.shape[1] - self.lengths)

    def _close_gaps(self, gaps: Int[Tensor, "R"]) -> None:
        """Move the columns of each text to the right, so that its padding comes first."""
        if not bool(gaps.any()):
            return
        columns = (torch.arange(self.width, device=gaps.device) - gaps[:, None]) % self.width
        self.seen = self.seen.gather(1, columns)
        layers: Any = self.cache.layers
        for layer in layers:
            for name in ("keys", "values"):
                x = getattr(layer, name)
                setattr(layer, name, x.gather(2, columns[:, None, :, None].expand(x.shape)))

    def rewind(self) -> None:
        """Remove all appended tokens."""
        layers: Any = self.cache.layers
        for layer in layers:  # not `crop`, whose argument has changed its meaning
            layer.keys, layer.values = layer.keys[:, :, : self.width], layer.values[:, :, : self.width]
        self.seen, self.n_new = self.seen[:, : self.width], 0

    def read(self, ids: Int[Tensor, "R m"]) -> Float[Tensor, "R m V"]:
        """Append *ids* to the texts and return the logits after each appended token."""
        self.seen = torch.cat([self.seen, self.seen.new_ones(ids.shape)], dim=1)
        steps = torch.arange(ids.shape[1], device=ids.device)
        hidden = self._read(ids, self.prefix.length + self.lengths[:, None] + self.n_new + steps)
        self.n_new += ids.shape[1]
        return self.model.unembed(hidden)

    def _read(self, ids: Tensor, positions: Tensor) -> Float[Tensor, "R n d_model"]:
        with attend_with(self.prefix, self.model.twin):
            return self.model.twin.base_model(
                input_ids=ids,
                attention_mask=self.seen,
                past_key_values=self.cache,
                use_cache=True,
                **self.model.told_positions(positions),
            ).last_hidden_state


class ReadAgain:
    """Continues texts on the bridge with hooks, which runs each whole text again at every step; see `Continuation`.

    New tokens come after a text and before its padding, so that hooks always get the same layout.
    """

    def __init__(
        self, model: HookedModel, placements: Sequence[Placement], ids: Int[Tensor, "R n"], mask: Tensor, room: int
    ) -> None:
        self.model, self.placement = model, placements[0] if placements else None
        self.k = self.placement.length if self.placement is not None else 0
        self.ids, self.mask, self.lengths = ids, mask.long(), row_ends(mask.long())
        model.rules.check_context(int(self.lengths.max()) + room, self.k)
        self.new = ids[:, :0]
        self.last = self._logits(1)[:, 0]

    def rewind(self) -> None:
        """Remove all appended tokens."""
        self.new = self.new[:, :0]

    def read(self, ids: Int[Tensor, "R m"]) -> Float[Tensor, "R m V"]:
        """Append *ids* to the texts and return the logits after each appended token."""
        self.new = torch.cat([self.new, ids], dim=1)
        return self._logits(ids.shape[1])

    def _logits(self, n: int) -> Float[Tensor, "R n V"]:
        """Return the logits at the last *n* tokens of every text."""
        m, device = self.new.shape[1], self.ids.device
        at = self.lengths[:, None] + torch.arange(m, device=device)
        ids, seen = pad(self.ids, (0, m)).scatter(1, at, self.new), pad(self.mask, (0, m)).scatter(1, at, 1)
        width = int(self.lengths.max()) + m
        logits = self.model.forward_hooked(ids[:, :width], seen[:, :width], self.placement)
        last = self.k + self.lengths[:, None] + m - n + torch.arange(n, device=device)
        return logits[torch.arange(len(ids), device=device)[:, None], last]


class DecodedAgain:
    """Continues targets of encoder-decoders, without a cache of the decoder; see `Continuation`.

    Sources are encoded once; the decoder runs over the whole target again at every step, since a deep prompt is written
    into its keys then. Targets are a few tokens long.
    """

    def __init__(
        self, model: HookedModel, placements: Sequence[Placement], ids: Int[Tensor, "R n"], mask: Tensor
    ) -> None:
        self.model = model
        slots = placements[0].slots(model) if placements else {}
        self.hooks = hooks_of(placements[0], model) if placements else []
        hooked = bool(placements) or bool(model.active_hooks())
        self.inner: Any = model.bridge.original_model if hooked else model.twin
        self.k = slots.get("decoder", 0)
        ids = prepend_slots(ids, slots.get("encoder", 0), fill=0)
        self.mask = prepend_slots(mask.long(), slots.get("encoder", 0), fill=1)
        with attach(model.bridge, first=self.hooks):
            encoder: Any = self.inner.get_encoder()
            self.encoded = encoder(input_ids=ids, attention_mask=self.mask)
        self.new = ids[:, :0]
        assert model.decoder_start_id is not None
        self.last = self.read(ids.new_full((len(ids), 1), model.decoder_start_id))[:, 0]

    def rewind(self) -> None:
        """Remove all tokens after the start token."""
        self.new = self.new[:, :1]

    def read(self, ids: Int[Tensor, "R m"]) -> Float[Tensor, "R m V"]:
        """Append *ids* to the targets and return the logits after each appended token."""
        self.new = torch.cat([self.new, ids], dim=1)
        decoder_ids = prepend_slots(self.new, self.k, fill=0)
        with attach(self.model.bridge, first=self.hooks):
            out = self.inner(
                encoder_outputs=self.encoded,
                attention_mask=self.mask,
                decoder_input_ids=decoder_ids,
                use_cache=False,
            )
        return out.logits[:, -ids.shape[1] :]
