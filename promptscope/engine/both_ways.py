"""Bidirectional attention without padding: encoders, and the cross-attention of decoders."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from promptscope.engine.attention import How, attend
from promptscope.engine.causal import KeysValues, after_prompt
from promptscope.engine.rows import Rows
from promptscope.models.facts import Band


def attend_all(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    queries: Rows,
    keys: Rows,
    front: KeysValues | None,
    which: Tensor | None,
    how: How,
    band: Band | None = None,
    unseen: Tensor | None = None,
) -> Tensor:
    """Attend from flat queries to the keys of *front* (the prompt's) and of their own sequence, within *band*.

    No query attends to the last n keys where *unseen* `(R, n)` is True. A window in *how* is not used, since models
    define bidirectional windows differently; *band* is measured instead.
    """
    q, (k, v) = queries.pad(query), after_prompt(front, (keys.pad(key), keys.pad(value)), which)
    seen = _see(keys, k.shape[1], how.bias, unseen)
    if band is not None:
        seen = _within(seen, band, q.shape[1], k.shape[1], q)
    return queries.unpad(attend(q, k, v, seen, how))


def _see(keys: Rows, width: int, bias: Tensor | None, unseen: Tensor | None) -> Tensor | None:
    """Return the mask that hides padding (at the end of rows) and *unseen* keys, with *bias* added."""
    if keys.where is None and unseen is None:
        return bias
    real = torch.arange(width, device=keys.lengths.device) < (keys.lengths + width - keys.width)[:, None]
    if unseen is not None:
        real = real & ~pad(unseen, (width - unseen.shape[1], 0), value=False)
    real = real[:, None, None]  # (R, 1, 1, K)
    return real if bias is None else bias.masked_fill(~real, torch.finfo(bias.dtype).min)


def _within(seen: Tensor | None, band: Band, n: int, width: int, like: Tensor) -> Tensor:
    """Restrict a mask for n queries, at the last n of *width* positions, to keys within *band*."""
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
    """Describe sequences `[prompt | text]` whose prompt rows come first in the flat list, then the rows of all texts.

    In bidirectional models prompt positions attend to the text, so that each text has its own prompt rows.
    """
    if prompts is None:
        return texts
    k, width = prompts.shape[1], prompts.shape[1] + texts.width
    device = texts.lengths.device
    first = torch.arange(texts.n, device=device)[:, None] * width + torch.arange(k, device=device)
    rest = texts.sequences * width + k + texts.positions
    return Rows(texts.lengths + k, width, torch.cat([first.flatten(), rest]))


def each_text(prompts: Tensor, which: Tensor | None, n: int) -> Tensor:
    """Repeat the rows of *prompts* `(G, s, ...)` for each of *n* texts; they are the first flat rows."""
    mine = prompts.expand(n, *prompts.shape[1:]) if which is None else prompts.index_select(0, which)
    return mine.flatten(0, 1)
