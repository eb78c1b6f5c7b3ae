"""What a model does that no table says: measured when it is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

KeyRule = Literal["written", "turned", "normed", "normed and turned", "asked"]
"""How a cache holds a key that was written at `hook_k`: as it is, after the rotary embedding, after the layer's own
norm, after both, or as only a pass of the model says."""

Band = tuple[int | None, int | None]
"""How many positions back and ahead a query sees; None: all."""


@dataclass(frozen=True)
class Facts:
    """Measured facts of a model.

    - `position_zero`: the number of the first position (RoBERTa: 2);
    - `takes_positions`: whether the plain model is told positions (ALiBi models are not);
    - `hook_scale`: what `embed.hook_out` holds is this times `model.embed(ids)`;
    - `input_scale`, `target_scale`: `inputs_embeds` (of the decoder) that equal `input_ids` are this times
      `model.embed(ids)`;
    - `keys`: for each layer of an attention by name, see `KeyRule`;
    - `bands`: for each layer of an attention by name, how far its queries see, None where the whole text;
    - `parts`: which attention each module of the plain model is, and in which layer;
    - `why_inlined`: why attention cannot be replaced from outside, None where it can;
    - `why_no_cache`: why prompts cannot run with a prefix cache, None where they can;
    - `reads_on`: whether the plain model reads on from a cache that it made of a text, without a prompt;
    - `shares_cache`: whether the hooked model goes on from a cache that the plain one made (some hold other keys);
    - `head`: whether logits are the output embedding of the last hidden state, or made by more than that.
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
        """The widest window within which some layer attends; None where every layer sees everything."""
        spans = [max(n or 0 for n in band) for layers in self.bands.values() for band in layers if band is not None]
        return max(spans) + 1 if spans else None
