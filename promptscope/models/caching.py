"""`model.run_with_cache`: TransformerLens' `ActivationCache` of a run, in which positions have names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import xarray as xr
from torch import Tensor
from transformer_lens import ActivationCache

from promptscope.errors import ModelError, nearest
from promptscope.models.attached import Hook

if TYPE_CHECKING:
    from promptscope.models.hooked import HookedModel, PromptLike

Names = str | Sequence[str] | Callable[[str], bool] | None


class PromptCache(ActivationCache):
    """An `ActivationCache` of TransformerLens that knows which positions are the prompt's.

    `positions` names the columns `[k prompt slots | text, padded on the right]` of the stream `pos`, and of an
    encoder-decoder's `dec_pos`: `"prompt 0"`, ..., `"text 0"`, ...; `tokens (B, n)` is True on real tokens of the text,
    False on its padding. Everything else is TransformerLens'.

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
        self, kept: dict[str, Tensor], model: HookedModel, positions: dict[str, list[str]], tokens: Tensor
    ) -> None:
        super().__init__(kept, model.bridge)
        self.positions = positions
        self.tokens = tokens
        self._shapes = model.hook_points().set_index("name")["shape"].to_dict()

    def labelled(self, name: str) -> xr.DataArray:
        """Return an activation with the names of its dimensions, and of the positions along them.

        *name* is one of `model.hook_points()`. Of scores and patterns, the two dimensions of positions are called
        `query` and `key`.

        Raises:
            ModelError: the cache has no activation *name*, or the meaning of its dimensions is not known.
        """
        if name not in self.cache_dict:
            raise ModelError(
                f"the cache has no activation {name!r}.{nearest(name, self.cache_dict)} cache.keys() lists all names"
            )
        if name not in self._shapes:
            raise ModelError(
                f"the dimensions of {name!r} have no names: those of model.hook_points() have. cache[{name!r}] is the "
                "tensor"
            )
        dims, coords = list(self._shapes[name].split()), {}
        streams = {i: dim for i, dim in enumerate(dims) if dim in self.positions}
        if len(streams) == 2:
            dims[-2:] = ["query", "key"]
        for i, stream in streams.items():
            coords[dims[i]] = self.positions[stream]
        return xr.DataArray(self.cache_dict[name].float().cpu().numpy(), dims=dims, coords=coords, name=name)


def cached_run(
    model: HookedModel,
    texts: Tensor | str | Sequence[str],
    mask: Tensor | None,
    prompt: PromptLike | None,
    names_filter: Names,
    hooks: Iterable[Hook],
    decoder_input_ids: Tensor | None,
) -> tuple[Tensor, PromptCache]:
    """See `HookedModel.run_with_cache`."""
    ids, mask, decoder_ids = model.right_padded(*_tokens(model, texts, mask), decoder_input_ids)
    kept: dict[str, Tensor] = {}
    reading = [(name, partial(_keep, kept, name)) for name in _names(model, names_filter)]
    placement = prompt.place(model) if prompt is not None else None
    logits = model.forward_hooked(ids, mask, placement, [*hooks, *reading], decoder_ids)
    slots = placement.slots(model) if placement is not None else {}
    widths = {"pos": (slots.get("encoder", 0), ids.shape[1])}
    if decoder_ids is not None:
        widths["dec_pos"] = slots.get("decoder", 0), decoder_ids.shape[1]
    positions = {
        stream: [f"prompt {i}" for i in range(k)] + [f"text {i}" for i in range(n)] for stream, (k, n) in widths.items()
    }
    return logits, PromptCache(kept, model, positions, mask.bool())


def _tokens(
    model: HookedModel, texts: Tensor | str | Sequence[str], mask: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    if isinstance(texts, Tensor):
        return texts, mask
    texts = [texts] if isinstance(texts, str) else list(texts)
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise ModelError(
            f"run_with_cache takes input ids [B, n], a text, or several, none of them empty; got {texts!r}"
        )
    rows = [torch.tensor(model.tokenizer(text)["input_ids"]) for text in texts]
    pad = partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    return pad(rows), pad([torch.ones_like(row) for row in rows])


def _names(model: HookedModel, wanted: Names) -> list[str]:
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
        raise ModelError("names_filter leaves no hook point to keep: model.hook_points() lists them")
    return list(dict.fromkeys(found))


def _keep(kept: dict[str, Tensor], name: str, x: Any, hook: object) -> None:
    value = x[0] if isinstance(x, tuple) else x
    if isinstance(value, Tensor):
        kept[name] = value.detach()
