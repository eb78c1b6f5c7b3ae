"""What a family of models is to promptscope: streams, attentions and hook points, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["causal", "masked", "seq2seq"]


@dataclass(frozen=True)
class HookPoint:
    """One hook point of a family, before its layers are counted.

    `name` is relative to its stack (`attn.hook_pattern`) or, when `stack` is None, the full name.
    `acts` is False where a written value is dropped or reaches only a part of what it should.

    >>> point = HookPoint("hook_resid_post", "batch pos d_model", "residual stream leaving the layer", stack="blocks")
    >>> point.site
    'blocks.{i}.hook_resid_post'
    """

    name: str
    shape: str
    meaning: str
    acts: bool = True
    stack: str | None = None

    @property
    def site(self) -> str:
        """The name with its stack, `{i}` for the layer: `blocks.{i}.attn.hook_pattern`."""
        return f"{self.stack}.{{i}}.{self.name}" if self.stack else self.name


@dataclass(frozen=True)
class Attention:
    """One attention of a layer (self, encoder, decoder, cross), as deep prompts and probes name it.

    >>> cross = Attention("decoder_blocks", "cross_attn", queries="decoder", keys="encoder", causal=False)
    >>> f"{cross.stack}.0.{cross.module}.hook_pattern"
    'decoder_blocks.0.cross_attn.hook_pattern'
    """

    stack: str
    module: str
    queries: Literal["encoder", "decoder"]
    keys: Literal["encoder", "decoder"]
    causal: bool


@dataclass(frozen=True)
class Family:
    """The hook points of an architecture, as `derived_family` found them on a loaded model.

    `name` is the `model_type` of its config. `attentions` maps the names that `DeepPrompt(parts=...)` takes to where
    they are: single-stream models have one, `self`; encoder-decoders have `encoder`, `decoder` and `cross`. `missing`
    says of sites that other families have why this one has not.

    >>> import promptscope as ps
    >>> family = ps.load_model("embedded-causal").family
    >>> family.kind, list(family.attentions), family.stacks
    ('causal', ['self'], ('blocks',))
    """

    name: str
    kind: Kind
    architecture: str
    attentions: dict[str, Attention]
    points: tuple[HookPoint, ...] = field(repr=False)
    missing: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def stacks(self) -> tuple[str, ...]:
        """Names of the layer lists, the main one first."""
        return tuple(dict.fromkeys(attention.stack for attention in self.attentions.values()))

    @property
    def embedding(self) -> str:
        """The hook point at which input-level prompts are written."""
        return next(point.name for point in self.points if point.name in ("embed.hook_out", "encoder_embed.hook_out"))

    def has(self, site: str) -> bool:
        """Say whether there is a hook point at *site*, such as `blocks.{i}.attn.hook_k`."""
        return any(point.site == site for point in self.points)
