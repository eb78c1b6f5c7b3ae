"""The part of a hooked model without passes: its two module trees, sizes, hook points and measured properties."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from promptscope.checks import checked
from promptscope.errors import ModelError
from promptscope.models.attached import Bridge
from promptscope.models.context import context_of
from promptscope.models.facts import Facts
from promptscope.models.families import Family
from promptscope.models.hook_points import expand_site, hook_point_table
from promptscope.models.input_rules import InputRules
from promptscope.models.measuring import model_head, target_embedding
from promptscope.models.shape import ModelShape


@dataclass(eq=False, repr=False)
class FrozenModel:
    """The part of a `HookedModel` that needs no forward pass with a prompt.

    The modules of placements, keys and prefixes use this class, and `HookedModel` uses those modules.
    """

    bridge: Bridge
    twin: PreTrainedModel
    family: Family
    _tokenizer: PreTrainedTokenizerBase | None
    name: str
    revision: str | None
    facts: Facts = field(default_factory=Facts)

    @property
    def backend(self) -> str:
        """The library that runs the model with hooks: `transformer_lens` or `nnsight`."""
        return getattr(self.bridge, "backend", "transformer_lens")

    @property
    def is_elsewhere(self) -> bool:
        """Whether the weights are on a server or placed by accelerate; every pass then runs on `bridge`."""
        return False

    @property
    def has_tokenizer(self) -> bool:
        """Whether the model has a tokenizer, so that text can be tokenised."""
        return self._tokenizer is not None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer that was loaded or given, unchanged (TransformerLens changes its own copy)."""
        if self._tokenizer is None:
            raise ModelError(
                f"model {self.name!r} has no tokenizer, so text cannot be tokenised: pass one, "
                "ps.load_model(..., tokenizer=AutoTokenizer.from_pretrained(...)), or save it into the model's folder"
            )
        return self._tokenizer

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.twin.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self.twin.dtype

    @cached_property
    def layers(self) -> dict[str, int]:
        """The number of layers of each list of layers, by its name (`blocks`)."""
        return {stack: len(getattr(self.bridge, stack)) for stack in self.family.stacks}

    @cached_property
    def shape(self) -> ModelShape:
        """The sizes of the model, see `ModelShape`."""
        config = self.bridge.cfg
        return ModelShape(
            n_layers=self.layers[self.family.stacks[0]],
            d_model=config.d_model,
            d_embed=self._embedding.weight.shape[1],
            n_heads=config.n_heads,
            n_kv_heads=getattr(config, "n_key_value_heads", None) or config.n_heads,
            d_head=config.d_head,
            vocab_size=self._embedding.weight.shape[0],
            context=context_of(self.twin, self.facts.position_zero),
        )

    @property
    def rules(self) -> InputRules:
        """The sizes against which inputs of this model are checked."""
        n_types = getattr(self.twin.config, "type_vocab_size", 0) or 0
        shape = self.shape
        return InputRules(self.name, self.family.kind, shape.vocab_size, shape.context, n_types, self.device)

    @property
    def decoder_start_id(self) -> int | None:
        """The id of the token that starts the answers of an encoder-decoder; None for other models."""
        config = self.twin.config
        if self.family.kind != "seq2seq":
            return None
        start = getattr(config, "decoder_start_token_id", None)
        decoder = getattr(config, "decoder", None)  # T5Gemma's own config, whose targets begin with <bos>
        return start if start is not None else getattr(decoder, "bos_token_id", None)

    @property
    def counts_columns(self) -> bool:
        """Whether some attention depends on the number of columns between two tokens, and not on `position_ids`."""
        facts = self.facts
        return facts.window is not None or facts.why_inlined is not None or not facts.takes_positions

    def hook_points(self) -> pd.DataFrame:
        """Return a table with one row for each hook point that promptscope has tested on this model.

        Columns: `name`, `layer` (-1 for a point outside the layers), `shape` (names of the dimensions), `meaning`, and
        `acts` (whether a value written there has its full effect).

        >>> import promptscope as ps
        >>> table = ps.load_model("embedded-causal").hook_points()
        >>> list(table.columns), table["name"][0]
        (['name', 'layer', 'shape', 'meaning', 'acts'], 'embed.hook_out')"""
        return hook_point_table(self.family, self.layers)

    @checked()
    def site(self, name: str) -> list[str]:
        """Return the names of the hook points of a site such as `"attn.hook_pattern"`, one for each layer.

        Raises:
            ModelError: the model has no such hook point.

        >>> import promptscope as ps
        >>> ps.load_model("embedded-causal").site("attn.hook_pattern")[:2]
        ['blocks.0.attn.hook_pattern', 'blocks.1.attn.hook_pattern']"""
        try:
            return expand_site(name, self.family, self.layers)
        except ModelError as error:
            if "backend=" not in str(error) and (hint := self._where_else(name)):
                raise ModelError(f"{error} {hint}") from None
            raise

    def _where_else(self, name: str) -> str:
        """Return a hint for a hook point that is not in the table but exists on the bridge or with another backend."""
        if hasattr(self.bridge, "missing"):
            return str(self.bridge.missing(name)).strip()
        known = self.bridge.hook_dict
        if any(one in known for one in (name, *(f"{stack}.0.{name}" for stack in self.family.stacks))):
            return (
                "TransformerLens has it, but promptscope has not tested it: use its full name with hooks=[...] or "
                "model.run_with_cache; captures of probes take tested hook points only."
            )
        return ""

    def embed(self, ids: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape d_embed"]:
        """Return the rows of the input embedding matrix for token ids of any shape.

        Some families multiply them by a constant inside the embedding module (Gemma 3: sqrt(d_model)); the vectors
        returned are scaled so too.

        Raises:
            ModelError: an id is not in the vocabulary.

        >>> import promptscope as ps
        >>> import torch
        >>> ps.load_model("embedded-causal").embed(torch.tensor([[5, 6, 7]])).shape
        torch.Size([1, 3, 160])"""
        self.rules.check_range(ids)
        return self._embedding(ids.to(self.device))

    def embed_targets(self, ids: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape d_embed"]:
        """Return the `decoder_inputs_embeds` of target token ids, for an encoder-decoder."""
        self.rules.check_range(ids)
        vectors = target_embedding(self.twin)(ids.to(self.device))
        return vectors if self.facts.target_scale == 1 else vectors * self.facts.target_scale

    def inputs(self, vectors: Float[Tensor, "*rows d_embed"]) -> Float[Tensor, "*rows d_embed"]:
        """Convert vectors like those of `embed` to `inputs_embeds` of the plain model, which some families scale."""
        return vectors if self.facts.input_scale == 1 else vectors * self.facts.input_scale

    def told_positions(self, positions: Int[Tensor, "*rows n"]) -> dict[str, Tensor]:
        """Return `{"position_ids": ...}` for positions 0, 1, ..., or `{}` if the plain model takes no positions."""
        return {"position_ids": positions + self.facts.position_zero} if self.facts.takes_positions else {}

    def unembed(self, hidden: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows V"]:
        """Map last hidden states to logits with the model's head (output embedding, soft caps and the like).

        Not for encoder-decoders: their decoders return logits.
        """
        if self.facts.head == "model":
            return self._model_head(hidden)
        head = self.twin.get_output_embeddings()
        assert head is not None
        return head(hidden)

    @cached_property
    def _model_head(self) -> Callable[[Tensor], Tensor]:
        return model_head(self.twin)

    @property
    def _embedding(self) -> nn.Embedding:
        embedding = self.twin.get_input_embeddings()
        assert isinstance(embedding, nn.Embedding)
        return embedding
