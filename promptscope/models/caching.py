"""`model.run_with_cache`: TransformerLens' `ActivationCache` with names of positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import xarray as xr
from torch import Tensor
from transformer_lens import ActivationCache

from promptscope.errors import ModelError, nearest
from promptscope.models.hookable import HookableModel

Names = str | Sequence[str] | Callable[[str], bool] | None


class PromptCache(ActivationCache):
    """An `ActivationCache` of TransformerLens with names for prompt and text positions.

    `positions["pos"]`, and for an encoder-decoder `positions["dec_pos"]`, name the positions
    `[k prompt positions | text | padding]`: `"prompt 0"`, ..., `"text 0"`, .... `tokens (B, n)` is True on tokens of
    the text and False on its padding. Everything else is as in TransformerLens.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> logits, cache = model.run_with_cache(["Seoul", "Lima is in"], prompt=ps.SoftPrompt(2))
    >>> cache.positions["pos"]
    ['prompt 0', 'prompt 1', 'text 0', 'text 1', 'text 2']
    >>> cache["resid_post", 3].shape == (2, 5, model.shape.d_model)
    True
    >>> cache.labelled("blocks.3.attn.hook_pattern").sel(query="text 2", key="prompt 0").dims
    ('batch', 'head')
    """

    def __init__(
        self, kept: dict[str, Tensor], model: HookableModel, positions: dict[str, list[str]], tokens: Tensor
    ) -> None:
        super().__init__(kept, model.bridge)
        self.positions = positions
        self.tokens = tokens
        self._shapes = model.hook_points().set_index("name")["shape"].to_dict()

    def labelled(self, name: str) -> xr.DataArray:
        """Return an activation as an xarray DataArray with named dimensions and positions.

        *name* is one of `model.hook_points()`. The dimensions are `batch`, `pos`, `head` and so on; attention scores
        and patterns have the dimensions `query` and `key` in place of `pos`.

        Raises:
            ModelError: the cache has no activation *name*, or the hook point is not in `model.hook_points()`, so that
                the meaning of its dimensions is not known.

        >>> import promptscope as ps
        >>> model = ps.load_model("embedded-causal")
        >>> _, cache = model.run_with_cache("Lima is in", prompt=ps.SoftPrompt(2))
        >>> cache.labelled("blocks.0.hook_resid_post").sel(pos="prompt 1").shape == (1, model.shape.d_model)
        True
        """
        if name not in self.cache_dict:
            raise ModelError(
                f"the cache has no activation {name!r}.{nearest(name, self.cache_dict)} cache.keys() lists all names"
            )
        if name not in self._shapes:
            raise ModelError(
                f"the meaning of the dimensions of {name!r} is not known, as it is not in model.hook_points(): "
                f"use cache[{name!r}], the tensor without names"
            )
        dims, coords = list(self._shapes[name].split()), {}
        streams = {i: dim for i, dim in enumerate(dims) if dim in self.positions}
        if len(streams) == 2:
            dims[-2:] = ["query", "key"]
        for i, stream in streams.items():
            coords[dims[i]] = self.positions[stream]
        return xr.DataArray(self.cache_dict[name].float().cpu().numpy(), dims=dims, coords=coords, name=name)


def named_positions(slots: Mapping[str, int], widths: Mapping[str, int]) -> dict[str, list[str]]:
    """Name the columns of each stream (`pos`, of decoders `dec_pos`): its prompt slots, then its text."""
    streams = {"pos": "encoder", "dec_pos": "decoder"}
    return {
        dim: [f"prompt {i}" for i in range(slots.get(streams[dim], 0))] + [f"text {i}" for i in range(n)]
        for dim, n in widths.items()
    }


def tokens_of(
    model: HookableModel, texts: Tensor | str | Sequence[str], mask: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Return ids and mask of texts, or those that are given."""
    if isinstance(texts, Tensor):
        return texts, mask
    texts = [texts] if isinstance(texts, str) else list(texts)
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise ModelError(
            f"texts must be input ids [B, n], a text, or a list of texts, none of them empty, got {texts!r}"
        )
    rows = [torch.tensor(model.tokenizer(text)["input_ids"]) for text in texts]
    pad = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    return pad(rows), pad([torch.ones_like(row) for row in rows])


def names_to_keep(model: HookableModel, wanted: Names) -> list[str]:
    """Return the hook points that *wanted* names, all that fire by default."""
    fires = model.firing_points()
    if wanted is None:
        return fires
    if callable(wanted):
        found = [name for name in fires if wanted(name)]
    else:
        found = []
        for name in [wanted] if isinstance(wanted, str) else wanted:
            found += [name] if name in fires else model.site(name)
    if not found:
        raise ModelError(f"names_filter={wanted!r} matches no hook point: model.hook_points() lists them")
    return list(dict.fromkeys(found))


def keep(kept: dict[str, Tensor], name: str, x: Any, hook: object) -> None:
    """Keep what a hook point holds."""
    value = x[0] if isinstance(x, tuple) else x
    if isinstance(value, Tensor):
        kept[name] = value.detach()
