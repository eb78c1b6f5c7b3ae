"""Packed passes of causal models: the prompt's rows once, then the tokens of all texts without padding."""

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from promptscope.engine.attention import How, attend, running
from promptscope.engine.last_layer import read_only
from promptscope.engine.rows import Rows
from promptscope.engine.shared import Shared
from promptscope.models import HookedModel, Prefix
from promptscope.models.placement_prefix import nothing_seen

KeysValues = tuple[Tensor, Tensor]
Kept = dict[int, tuple[KeysValues | None, KeysValues | None]]
"""Layer -> shared keys and values `(G, p + s, kv_head, d_head)`, and the texts' own `(R, n, kv_head, d_head)`;
None where there are none."""


@dataclass
class CausalPass:
    """A pass over flat rows `[G x s shared | tokens of R texts]`; text r comes after prompt `which[r]`."""

    shared: Shared
    texts: Rows
    which: Int[Tensor, "R"] | None
    keep: bool = False
    kept: Kept = field(default_factory=dict)

    def attend(self, module: Any, query: Tensor, key: Tensor, value: Tensor, how: How) -> Tensor:
        """Attend causally: shared rows to earlier shared rows, texts to their shared rows and to themselves."""
        g, s = self.shared.n_prompts, self.shared.s
        front, own, out = in_front(self.shared.prefix, module.layer_idx), None, []
        if s:
            q, k, v = (x[: g * s].unflatten(0, (g, s)) for x in (query, key, value))
            front = after_prompt(front, (k, v), None)
            out.append(_causal(q, *front, how).flatten(0, 1))
        if self.texts.n:
            q, k, v = (self.texts.pad(x[g * s :]) for x in (query, key, value))
            own = k, v
            out.append(self.texts.unpad(_causal(q, *after_prompt(front, own, self.which), how, self.texts.real)))
        if self.keep:
            self.kept[module.layer_idx] = front, own
        return torch.cat(out) if len(out) > 1 else out[0]


def in_front(prefix: Prefix | None, layer: int) -> KeysValues | None:
    """Return a prefix's keys and values of a layer, `(G, p, kv_head, d_head)`; None if it does not attend to them."""
    if prefix is None or layer not in prefix.layers:
        return None
    return prefix.keys[layer].transpose(1, 2), prefix.values[layer].transpose(1, 2)


def after_prompt(front: KeysValues | None, own: KeysValues, which: Tensor | None) -> KeysValues:
    """Return each text's keys and values with those of its prompt before them, `(R, p + n, kv_head, d_head)`."""
    if front is None:
        return own
    mine = (x.expand(len(own[0]), -1, -1, -1) if which is None else x.index_select(0, which) for x in front)
    keys, values = (torch.cat(pair, dim=1) for pair in zip(mine, own, strict=True))
    return keys, values


def _causal(query: Tensor, key: Tensor, value: Tensor, how: How, real: Bool[Tensor, "R n"] | None = None) -> Tensor:
    """Attend causally, and to the *p* keys before those of the text (within the window, if there is one).

    Padding after a text needs no mask, since it is later. With padding before a text, queries attend to *real*
    positions only.
    """
    n, p = query.shape[1], key.shape[1] - query.shape[1]
    narrow = how.window is not None and how.window < p + n
    if not p and real is None and not narrow:
        return attend(query, key, value, None, how, causal=True)
    mask = torch.ones(n, p + n, dtype=torch.bool, device=query.device).tril(p)
    if how.window is not None and narrow:
        mask = mask & ~mask.new_ones(mask.shape).tril(p - how.window)
    if real is not None:
        # A position of padding sees itself: the softmax over nothing is not a number, and its gradient neither.
        own = real[:, None] | torch.eye(n, dtype=torch.bool, device=query.device)
        mask = (mask & torch.cat([mask.new_ones(len(own), n, p), own], dim=2))[:, None]
    return attend(query, key, value, mask, how)


def hidden_rows(
    model: HookedModel,
    shared: Shared,
    ids: Int[Tensor, "R n"],
    mask: Bool[Tensor, "R n"],
    which: Int[Tensor, "R"] | None = None,
    keep: bool = False,
    kind: type[CausalPass] = CausalPass,
    where: Bool[Tensor, "R n"] | None = None,
) -> tuple[Float[Tensor, "rows d_model"], CausalPass]:
    """Run padded texts (without their template) after *shared* and return the hidden states of their tokens.

    With *where*, only the hidden states of the marked tokens are returned; for other tokens, the last layer computes
    keys and values only. The position of a token is that of its column: padding before a text moves the text away from
    its prompt, padding after it changes nothing.
    """
    texts = Rows.of(mask)
    model.rules.check_context(texts.width, shared.taken)
    current = kind(shared, texts, which if shared.n_prompts > 1 else None, keep)
    positions = shared.taken + texts.positions
    x = model.embed(texts.flatten(ids))
    if shared.rows is not None:
        x = torch.cat([shared.rows.flatten(0, 1), x])
        positions = torch.cat([shared.positions(model.device).flatten(), positions])
    read = torch.arange(shared.n_prompts * shared.s, len(x), device=model.device)
    if where is not None:
        read = read[texts.flatten(where)]
    with running(model.twin, current), read_only(model, read):
        told = model.told_positions(positions[None])
        out = model.twin.base_model(inputs_embeds=model.inputs(x)[None], use_cache=False, **told)
    return out.last_hidden_state[0, read], current


def computed(model: HookedModel, shared: Shared) -> Shared:
    """Run the rows of *shared* once and return them as keys and values, for any number of batches."""
    if shared.rows is None:
        return shared
    if not shared.s:
        return Shared(shared.n_prompts, nothing_seen(model, shared.n_prompts, shared.taken))
    nothing = torch.zeros(0, 0, dtype=torch.long, device=model.device)
    _, ran = hidden_rows(model, shared, nothing, nothing.bool(), keep=True)
    layers = range(model.shape.n_layers)
    kept = [cast(KeysValues, ran.kept[i][0]) for i in layers]
    keys, values = (tuple(x.transpose(1, 2) for x in each) for each in zip(*kept, strict=True))
    # Heads may be wider in some layers than in others (Gemma 4), but rows are as many in all.
    assert len({x.shape[2] for x in keys}) == 1, (
        "some layers do not attend to the prefix, so that it cannot be joined with the rows after it"
    )
    prefix = Prefix(keys, values, frozenset(layers), shared.taken - keys[0].shape[2])
    return Shared(shared.n_prompts, prefix, None, shared.n_template)
