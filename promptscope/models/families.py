"""Descriptions of a model family as data: lists of layers, attentions and hook points."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["causal", "masked", "seq2seq"]


@dataclass(frozen=True)
class HookPoint:
    """One hook point of a family, the same in every layer.

    `name` is relative to the layer (`attn.hook_pattern`); if `stack` (the name of the list of layers) is None, it is
    the full name. `shape` names the dimensions. `acts` is False if a written value has only a part of its effect, as
    `meaning` then says.

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
        """The name with its list of layers, with `{i}` for the layer: `blocks.{i}.attn.hook_pattern`."""
        return f"{self.stack}.{{i}}.{self.name}" if self.stack else self.name


@dataclass(frozen=True)
class Attention:
    """One attention of a layer (self, encoder, decoder, cross), as deep prompts and probes name it.

    `stack` is the list of layers, `module` the attention's name within a layer; `queries` and `keys` say whether they
    are made from the encoder's or the decoder's stream.

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
    """The hook points of an architecture, as found on a loaded model.

    `name` is the `model_type` of its config, `kind` is `causal`, `masked` or `seq2seq`. `attentions` maps the names
    that `DeepPrompt(parts=...)` takes to an `Attention`: models with one stream have `self`, encoder-decoders have
    `encoder`, `decoder` and `cross`. `missing` maps sites that this family lacks to the reason.

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
        """Names of the lists of layers, the main one first."""
        return tuple(dict.fromkeys(attention.stack for attention in self.attentions.values()))

    @property
    def embedding(self) -> str:
        """The hook point at which input-level prompts (embeddings) are written."""
        return next(point.name for point in self.points if point.name in ("embed.hook_out", "encoder_embed.hook_out"))

    def has(self, site: str) -> bool:
        """Return whether there is a hook point at *site*, such as `blocks.{i}.attn.hook_k`."""
        return any(point.site == site for point in self.points)
