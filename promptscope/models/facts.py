"""Properties of a model that are measured when it is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

KeyRule = Literal["written", "turned", "normed", "normed and turned", "asked"]
"""How a cache stores a key that was written at `hook_k`: unchanged (`written`), after the rotary embedding (`turned`),
after the layer's norm (`normed`), after both, or in a way that only a pass of the model shows (`asked`)."""

Band = tuple[int | None, int | None]
"""How many positions back and ahead a query attends; None: all of them."""


@dataclass(frozen=True)
class Facts:
    """Properties of a model that are measured when it is loaded.

    - `position_zero`: the number of the first position (RoBERTa: 2);
    - `takes_positions`: whether the plain model takes `position_ids` (models with ALiBi do not);
    - `hook_scale`: `embed.hook_out` equals `hook_scale * model.embed(ids)`;
    - `input_scale`, `target_scale`: `inputs_embeds` (`decoder_inputs_embeds`) with the effect of `input_ids`
      (`decoder_input_ids`) equal this number times `model.embed(ids)`;
    - `keys`: by attention and layer, how a cache stores a key that was written at `hook_k`, see `KeyRule`;
    - `bands`: by attention and layer, how many positions back and ahead a query attends, None for the whole text;
    - `parts`: for each attention module of the plain model, the name of its attention and its layer;
    - `why_inlined`: the reason why the attention function cannot be replaced by another one, or None if it can;
    - `why_no_cache`: the reason why prompts cannot run as a prefix cache, or None if they can;
    - `reads_on`: whether the plain model can continue a text, without a prompt, from a cache that it made;
    - `shares_cache`: whether the hooked model can continue from a cache that the plain model made;
    - `head`: `"embedding"` if logits are the output embedding applied to the last hidden state, `"model"` if the model
      does more than that.
    """

    position_zero: int = 0
    takes_positions: bool = True
    hook_scale: float = 1.0
    input_scale: float = 1.0
    target_scale: float = 1.0
    keys: Mapping[str, tuple[KeyRule, ...]] = field(default_factory=dict)
    bands: Mapping[str, tuple[Band | None, ...]] = field(default_factory=dict)
    parts: Mapping[nn.Module, tuple[str, int]] = field(default_factory=dict, repr=False)
    why_inlined: str | None = None
    why_no_cache: str | None = None
    reads_on: bool = True
    shares_cache: bool = False
    head: Literal["embedding", "model"] = "embedding"

    @property
    def window(self) -> int | None:
        """The widest attention window of any layer, in positions; None if every layer attends to the whole text."""
        spans = [max(n or 0 for n in band) for layers in self.bands.values() for band in layers if band is not None]
        return max(spans) + 1 if spans else None
