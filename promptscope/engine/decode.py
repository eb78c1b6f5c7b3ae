"""Continuing texts from their cached keys and values, on causal models: generation, and words of several tokens."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from promptscope.engine.attention import How, attend, running
from promptscope.engine.causal import KeysValues, after_prompt, hidden_rows
from promptscope.engine.settings import kernel
from promptscope.engine.shared import Shared
from promptscope.models import HookedModel
from promptscope.models.layout import row_ends


@dataclass
class _Step:
    """A pass over m new tokens of each of R texts; their keys and values are appended to the stored ones."""

    keys: dict[int, Tensor]
    values: dict[int, Tensor]
    seen: Bool[Tensor, "R 1 m K"]
    distance: Int[Tensor, "R 1 m K"]  # in positions: columns hold padding between a text and its new tokens
    m: int
    left: int  # room after these m tokens

    def attend(self, module: Any, query: Tensor, key: Tensor, value: Tensor, how: How) -> Tensor:
        """Attend from new tokens to their prompt, their text, and the new tokens before them."""
        layer = module.layer_idx
        keys, values = self.keys[layer], self.values[layer]
        q, k, v = (x.unflatten(0, (-1, self.m)) for x in (query, key, value))
        end = keys.shape[1] - self.left
        keys[:, end - self.m : end] = k
        values[:, end - self.m : end] = v
        hidden = self.seen.shape[-1] - end  # positions of a prompt that this layer does not see
        seen = self.seen[..., hidden:]
        if how.window is not None:
            seen = seen & (self.distance[..., hidden:] < how.window)
        return attend(q, keys[:, :end], values[:, :end], seen, how).flatten(0, 1)


class TextContinuation:
    """Texts whose keys and values are kept so that they can be continued; see `Continuation`."""

    def __init__(
        self,
        model: HookedModel,
        shared: Shared,
        ids: Int[Tensor, "R n"],
        mask: Bool[Tensor, "R n"],
        room: int,
    ) -> None:
        with kernel(model):
            steps = torch.arange(mask.shape[1], device=mask.device)
            ends = steps == row_ends(mask)[:, None] - 1
            hidden, ran = hidden_rows(model, shared, ids, mask, keep=True, where=ends)
            self.lengths = ran.texts.lengths
            self.last = model.unembed(hidden)
        self.model, self.room = model, room
        self.taken = shared.taken
        model.rules.check_context(int(self.lengths.max()) + room, self.taken)
        front = torch.ones(len(ids), shared.p + shared.s, dtype=torch.bool, device=mask.device)
        self.text_seen = torch.cat([front, ran.texts.mask], dim=1)
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}
        for layer, (shared_rows, own) in ran.kept.items():
            whole = after_prompt(shared_rows, cast(KeysValues, own), ran.which)
            self.keys[layer], self.values[layer] = (_with_room(x, room) for x in whole)
        self.n_new = 0

    def rewind(self) -> None:
        """Remove all appended tokens."""
        self.n_new = 0

    def read(self, ids: Int[Tensor, "R m"]) -> Float[Tensor, "R m V"]:
        """Append *ids* to the texts and return the logits after each appended token."""
        m, device = ids.shape[1], ids.device
        positions = self.taken + self.lengths[:, None] + self.n_new + torch.arange(m, device=device)
        new = torch.ones(m, self.n_new + m, dtype=torch.bool, device=device).tril(self.n_new)
        old = self.text_seen[:, None].expand(-1, m, -1)
        seen = torch.cat([old, new.expand(len(ids), -1, -1)], dim=2)[:, None]
        self.n_new += m
        columns = torch.arange(self.text_seen.shape[1], device=device).expand(len(ids), -1)
        appended = (self.taken + self.lengths)[:, None] + torch.arange(self.n_new, device=device)
        distance = positions[:, None, :, None] - torch.cat([columns, appended], dim=1)[:, None, None]
        step = _Step(self.keys, self.values, seen, distance, m, self.room - self.n_new)
        x = self.model.embed(ids).flatten(0, 1)
        with kernel(self.model), running(self.model.twin, step):
            told = self.model.told_positions(positions.flatten()[None])
            out = self.model.twin.base_model(inputs_embeds=self.model.inputs(x)[None], use_cache=False, **told)
            return self.model.unembed(out.last_hidden_state[0]).unflatten(0, ids.shape)


def _with_room(whole: Tensor, room: int) -> Tensor:
    return torch.cat([whole, whole.new_zeros(len(whole), room, *whole.shape[2:])], dim=1)
