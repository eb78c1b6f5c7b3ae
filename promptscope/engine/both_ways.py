"""Attention without padding where every query sees the whole text: encoders, and what decoders see of them."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from promptscope.engine.attention import How, attend
from promptscope.engine.causal import after_prompt
from promptscope.engine.rows import Rows
from promptscope.models.facts import Band


def attend_all(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    queries: Rows,
    keys: Rows,
    front: tuple[Tensor | None, Tensor | None],
    which: Tensor | None,
    how: How,
    band: Band | None = None,
    unseen: Tensor | None = None,
) -> Tensor:
    """Let flat queries see the keys of *front* and of their own sequence, as far as *band* reaches.

    Nothing sees the keys that are marked in the rectangle *unseen*. A window in *how* is not used: what models mean by
    one where queries look both ways differs, so it is measured.
    """
    q, k, v = queries.pad(query), keys.pad(key), keys.pad(value)
    if front[0] is not None and front[1] is not None:
        k, v = after_prompt(front[0], k, which), after_prompt(front[1], v, which)
    seen = _see(keys, k.shape[1], how.bias, unseen)
    if band is not None:
        seen = _within(seen, band, q.shape[1], k.shape[1], q)
    return queries.unpad(attend(q, k, v, seen, how))


def _see(keys: Rows, width: int, bias: Tensor | None, unseen: Tensor | None) -> Tensor | None:
    """Hide the padding of the keys, which right padding puts last, and the *unseen* ones; add *bias*."""
    if keys.where is None and unseen is None:
        return bias
    real = torch.arange(width, device=keys.lengths.device) < (keys.lengths + width - keys.width)[:, None]
    if unseen is not None:
        real = real & ~pad(unseen, (width - keys.width, 0), value=False)
    real = real[:, None, None]  # (R, 1, 1, K)
    return real if bias is None else bias.masked_fill(~real, torch.finfo(bias.dtype).min)


def _within(seen: Tensor | None, band: Band, n: int, width: int, like: Tensor) -> Tensor:
    """Hide from n queries, the last of *width* positions, what is farther away than *band* says."""
    back, ahead = (width if reach is None else reach for reach in band)
    at = torch.arange(width, device=like.device)
    distance = at[width - n :, None] - at
    near = (distance <= back) & (distance >= -ahead)
    # Rows of padding see nothing within the band: they must not be NaN.
    if seen is None:
        return near
    if seen.dtype == torch.bool:
        both = seen & near
        return both | ~both.any(dim=-1, keepdim=True)
    return seen.masked_fill(~near, torch.finfo(seen.dtype).min)


def behind_prompts(prompts: Tensor | None, texts: Rows) -> Rows:
    """Give each text its own rows of a prompt: all prompt rows come first in the flat list, then the texts'.

    A prompt that sees the text that follows differs from text to text, so nothing is shared.
    """
    if prompts is None:
        return texts
    k, width = prompts.shape[1], prompts.shape[1] + texts.width
    device = texts.lengths.device
    first = torch.arange(texts.n, device=device)[:, None] * width + torch.arange(k, device=device)
    rest = texts.sequences * width + k + texts.positions
    return Rows(texts.lengths + k, width, torch.cat([first.flatten(), rest]))


def each_text(prompts: Tensor, which: Tensor | None, n: int) -> Tensor:
    """Repeat what *prompts* `(G, s, ...)` hold for each of *n* texts: the first flat rows of `behind_prompts`."""
    mine = prompts.expand(n, *prompts.shape[1:]) if which is None else prompts.index_select(0, which)
    return mine.flatten(0, 1)
