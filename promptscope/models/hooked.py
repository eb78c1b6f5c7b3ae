"""The hooked model: one frozen transformer, seen through hooks and run through its plain twin."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Protocol, runtime_checkable

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from promptscope.cards import card
from promptscope.checks import checked
from promptscope.errors import ModelError, PromptError
from promptscope.files import content_hash, fingerprint, tensor_hash
from promptscope.models.attached import (
    AttachedHook,
    Bridge,
    Hook,
    Watch,
    as_hooks,
    attach,
    attached_everywhere,
    check_returns,
    silent_points,
)
from promptscope.models.caching import PromptCache, cached_run
from promptscope.models.context import context_of
from promptscope.models.facts import Facts
from promptscope.models.families import Family
from promptscope.models.hook_points import expand_site, hook_point_table
from promptscope.models.identity import config_hash, hooks_identity
from promptscope.models.input_rules import InputRules
from promptscope.models.layout import prepend_slots, restore_order, to_right_padding
from promptscope.models.measuring import head_of, model_head, target_embedding
from promptscope.models.model_code import foreign_code
from promptscope.models.modes import own_modes
from promptscope.models.placement import Placement
from promptscope.models.placement_hooks import hooks_of
from promptscope.models.placement_prefix import prefix_of
from promptscope.models.prefix import Prefix, attend_with
from promptscope.models.turns import Turns
from promptscope.models.weights import Weights

Via = Literal["auto", "hooks", "prefix"]
"""How a prompt is run: as hooks, as a prefix cache (causal models), or whichever is faster."""


@runtime_checkable  # so that beartype can check it
class PromptLike(Protocol):
    """What a hooked model needs of a prompt: to say what it puts before a text.

    >>> import promptscope as ps
    >>> isinstance(ps.SoftPrompt(length=4), PromptLike)
    True
    """

    def place(self, model: "HookedModel") -> Placement: ...


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a model; `context` is the largest number of positions, None where there is no limit.

    `d_embed` is the width of token embeddings, and of input-level prompts: `d_model`, but for models that widen their
    embeddings before the first layer (OPT-350m, ALBERT, ELECTRA).

    >>> import promptscope as ps
    >>> shape = ps.load_model("embedded-causal").shape
    >>> shape.n_layers, shape.d_model, shape.n_heads
    (6, 160, 5)
    """

    n_layers: int
    d_model: int
    d_embed: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    vocab_size: int
    context: int | None


class HookedModel:
    """A frozen transformer: `bridge` to look inside, `twin` to run plainly, one set of weights for both.

    Made by `ps.load_model`. Every batch runs right padded, as `[k prompt slots | text | padding]`, whatever
    the side of its padding was: position t of the text is position k + t of the model.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> text = model.tokenizer(["Lima is in"], return_tensors="pt")
    >>> model.logits(text["input_ids"], text["attention_mask"], prompt=ps.SoftPrompt(4)).shape
    torch.Size([1, 3, 4096])
    >>> with model.hooks([("blocks.2.hook_resid_post", lambda activation, hook: 0 * activation)]):
    ...     edited = model.logits(text["input_ids"], text["attention_mask"])
    """

    def __init__(
        self,
        bridge: Bridge,
        twin: PreTrainedModel,
        family: Family,
        tokenizer: PreTrainedTokenizerBase | None,
        name: str,
        revision: str | None,
        facts: Facts | None = None,
    ) -> None:
        self.bridge = bridge
        self.twin = twin
        self.family = family
        self.facts = facts if facts is not None else Facts()
        self._tokenizer = tokenizer
        self._hashed: dict[str, tuple[Any, str]] = {}  # what was hashed -> its fingerprints, and the hash
        self._hashed_in_turn: dict[str, str] = {}  # nobody edits weights in the middle of a computation
        self.name = name
        self.revision = revision
        self.changed_attributes: dict[str, Any] = {}
        """What the modules of a model that was handed in say otherwise than its configuration."""
        self.foreign_code: dict[str, str] = foreign_code(twin)
        """What it runs that neither transformers nor PyTorch wrote, by a hash of each."""
        self._turns = Turns()
        self._weights: Weights | None = None
        self._edited = False  # since facts were measured
        self._silent: frozenset[str] = frozenset()
        self.watch()

    def watch(self) -> None:
        """Take the hooks that are attached now as the model's own; loading does it when it is done."""
        self._watches = Watch(self.bridge), Watch(self.twin)
        check_returns(self.bridge)

    def follow_edits_with(self, boot: Callable[[], Bridge], source: PreTrainedModel | None = None) -> None:
        """From now on, let the bridge follow edits of the twin's weights; *boot* makes another bridge over the twin.

        *source*: the caller's own model, if the twin shares its parameters.
        """
        self._weights = Weights(self.twin, self.bridge, boot, source)

    def find_silent_points(self) -> None:
        """Remember which hook points exist and never fire, on one tiny batch; loading does it."""
        ids = torch.zeros(1, 2, dtype=torch.long, device=self.device)
        decoder_ids = ids if self.family.kind == "seq2seq" else None
        self._silent = silent_points(self.bridge, lambda: self.forward_hooked(ids, decoder_input_ids=decoder_ids))

    def __repr__(self) -> str:
        s = self.shape
        return (
            f"HookedModel({self.name!r}, family={self.family.name!r}, n_layers={s.n_layers}, "
            f"d_model={s.d_model}, n_heads={s.n_heads}, dtype={self.dtype}, device={self.device})"
        )

    def _repr_html_(self) -> str:
        s, n = self.shape, sum(parameter.numel() for parameter in self.twin.parameters())
        facts = {
            "architecture": f"{type(self.twin).__name__} ({self.family.kind}), {n:,} parameters",
            "layers": ", ".join(f"{stack} {count}" for stack, count in self.layers.items()),
            "width, heads": f"{s.d_model}, {s.n_heads} ({s.n_kv_heads} of keys and values)",
            "context": s.context,
            "runs in": f"{self.dtype} on {self.device}, hooks by {self.backend}",
            "tokenizer": f"{len(self.tokenizer):,} tokens" if self.has_tokenizer else "none",
        }
        return card(f"HookedModel {self.name!r}", facts)

    # --- what the model is ---------------------------------------------------------------------------

    @property
    def backend(self) -> str:
        """What runs the model under hooks: `transformer_lens` or `nnsight`."""
        return getattr(self.bridge, "backend", "transformer_lens")

    @property
    def is_elsewhere(self) -> bool:
        """Whether the weights are not in this memory: every pass then runs as the bridge, as it does under hooks."""
        return False

    @property
    def has_tokenizer(self) -> bool:
        """Whether text can be turned into tokens."""
        return self._tokenizer is not None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer as it was given: the bridge's changes to tokenizers do not reach it."""
        if self._tokenizer is None:
            raise ModelError(
                f"model {self.name!r} has no tokenizer, so text cannot be turned into tokens: pass one, "
                "ps.load_model(..., tokenizer=AutoTokenizer.from_pretrained(...)), or save it into the model's folder"
            )
        return self._tokenizer

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.twin.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self.twin.dtype

    @cached_property
    def layers(self) -> dict[str, int]:
        """Number of layers of each stack."""
        return {stack: len(getattr(self.bridge, stack)) for stack in self.family.stacks}

    @cached_property
    def shape(self) -> ModelShape:
        """Sizes of the model."""
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
        """What its inputs must look like."""
        n_types = getattr(self.twin.config, "type_vocab_size", 0) or 0
        shape = self.shape
        return InputRules(self.name, self.family.kind, shape.vocab_size, shape.context, n_types, self.device)

    @property
    def embedding_hash(self) -> str:
        """SHA-256 of the input embedding matrix: what a saved prompt is checked against.

        Hashed as float32, so that a half-precision checkpoint is the same model when loaded in float32.
        """
        weight = self._embedding.weight
        return self._hash_once("embedding", lambda: fingerprint(weight), lambda: tensor_hash(weight, torch.float32))

    @property
    def weights_hash(self) -> str:
        """SHA-256 over all weights and buffers, as they are now."""
        weights = dict([*self.twin.named_parameters(), *self.twin.named_buffers()])
        return self._hash_once(
            "weights",
            lambda: {name: fingerprint(tensor) for name, tensor in weights.items()},
            lambda: content_hash({name: tensor_hash(tensor) for name, tensor in weights.items()}),
        )

    def _hash_once(self, what: str, look: Callable[[], Any], compute: Callable[[], str]) -> str:
        """Return a hash that takes long, computed again only if what it is of was edited."""
        if self._turns.depth and what in self._hashed_in_turn:
            return self._hashed_in_turn[what]
        prints = look()
        if what not in self._hashed or self._hashed[what][0] != prints:
            self._hashed[what] = prints, compute()
        self._hashed_in_turn[what] = self._hashed[what][1]
        return self._hashed[what][1]

    @property
    def identity(self) -> dict[str, Any]:
        """Return all that decides this model's numbers, as they are now: what runs, captures and scores are kept by.

        Weights, configuration, dtype and the hooks that are attached; not its name or where it lies. A hook counts by
        where it is and by its function's `identity` (a string that you set, `fn.identity = "zero head 3"`), else by a
        hash of its code and everything that it refers to. Where that cannot be hashed (a hook that uses a model, say),
        its identity is None: nothing is then taken from a store or a finished run.

        >>> import promptscope as ps
        >>> sorted(ps.load_model("embedded-causal").identity)
        ['config', 'dtype', 'embedding_hash', 'family', 'weights_hash']
        """
        found: dict[str, Any] = {
            "weights_hash": self.weights_hash,
            "embedding_hash": self.embedding_hash,
            "dtype": str(self.dtype),
            "family": self.family.name,
            "config": config_hash(self.twin.config),
        }
        if self.changed_attributes:
            found["attributes"] = self.changed_attributes
        if self.foreign_code:
            found["code"] = self.foreign_code
        hooks = self.active_hooks()
        return found | {"hooks": hooks_identity(hooks)} if hooks else found

    def hook_points(self) -> pd.DataFrame:
        """List every hook point: name, layer, shape, meaning, and whether a written value acts."""
        return hook_point_table(self.family, self.layers)

    @checked()
    def site(self, name: str) -> list[str]:
        """Expand a site such as `"attn.hook_pattern"` to its hook points, one for each layer."""
        try:
            return expand_site(name, self.family, self.layers)
        except ModelError as error:
            if "backend=" not in str(error) and (hint := self._where_else(name)):
                raise ModelError(f"{error} {hint}") from None
            raise

    def _where_else(self, name: str) -> str:
        """Say of a hook point that is not in the table where it is."""
        if hasattr(self.bridge, "missing"):
            return str(self.bridge.missing(name)).strip()
        known = self.bridge.hook_dict
        if any(one in known for one in (name, *(f"{stack}.0.{name}" for stack in self.family.stacks))):
            return (
                "TransformerLens has it, but promptscope has not tested it: hooks=[...] and model.run_with_cache take "
                "it by its full name, captures do not."
            )
        return ""

    def embed(self, ids: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape d_embed"]:
        """Return token vectors as the first layer gets them (some families scale inside the module)."""
        self.rules.check_range(ids)
        return self._embedding(ids.to(self.device))

    def embed_targets(self, ids: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape d_embed"]:
        """Return target tokens as `decoder_inputs_embeds` of an encoder-decoder."""
        self.rules.check_range(ids)
        vectors = target_embedding(self.twin)(ids.to(self.device))
        return vectors if self.facts.target_scale == 1 else vectors * self.facts.target_scale

    def inputs(self, vectors: Float[Tensor, "*rows d_embed"]) -> Float[Tensor, "*rows d_embed"]:
        """Return vectors like those of `embed` as `inputs_embeds` of the plain model, which may take them scaled."""
        return vectors if self.facts.input_scale == 1 else vectors * self.facts.input_scale

    def told_positions(self, positions: Int[Tensor, "*rows n"]) -> dict[str, Tensor]:
        """Return positions (0, 1, ...) as the argument that the plain model takes, none where it takes none."""
        return {"position_ids": positions + self.facts.position_zero} if self.facts.takes_positions else {}

    @property
    def _embedding(self) -> nn.Embedding:
        embedding = self.twin.get_input_embeddings()
        assert isinstance(embedding, nn.Embedding)
        return embedding

    # --- running it ----------------------------------------------------------------------------------

    @contextmanager
    def hooks(self, fwd_hooks: Iterable[Hook]) -> Iterator[Bridge]:
        """Attach hooks for the length of a `with` block, as TransformerLens' `model.hooks` does.

        Everything that runs this model inside the block runs under them: training, evaluation, generation, probes.
        A hook sees `[k prompt slots | text | padding]`, at every step of generation the whole of it (encoder-decoders:
        the encoder's once, the decoder's `[k slots | start, new tokens]` at every step). At one point a prompt's own
        hooks run first, then those attached, then what a probe captures.

        Raises:
            ModelError: no such hook point, one that never fires, or another thread has hooks attached.
        """
        hooks = as_hooks(fwd_hooks)
        self._check_points([name for name, _ in hooks])
        with self._turns.own(self.name), attach(self.bridge, last=hooks):
            yield self.bridge

    def active_hooks(self) -> list[AttachedHook]:
        """Return the hooks that somebody attached, in whatever way; where there are some, the bridge runs.

        Raises:
            ModelError: hooks on the twin, which runs texts without the layout that hooks expect.
        """
        bridge, twin = self._watches
        if strayed := twin.attached():
            where = ", ".join(hook.point or "the whole of it" for hook in strayed[:3])
            raise ModelError(
                f"{self.name!r} has hooks on model.twin ({where}), which runs "
                "texts in layouts of its own: attach them to model.bridge, or with model.hooks(...)"
            )
        return bridge.attached() + attached_everywhere()

    @contextmanager
    def turn(self, hooks: Iterable[Hook] = ()) -> Iterator[None]:
        """Reserve this model for one thread in a `with` block; *hooks* are added to those attached.

        Every call that runs the model does this, and calls inside the block share its turn. Other threads wait.

        Raises:
            ModelError: as `hooks` does.
        """
        hooks = as_hooks(hooks)
        with self._turn():
            self._check_points([name for name, _ in hooks])
            with attach(self.bridge, last=hooks):
                yield

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Take this thread's turn; where it is not inside one already, edited weights are followed first."""
        with self._turns.take(self.name), own_modes():
            if self._turns.depth == 1:
                self._hashed_in_turn = {}
                if self._weights is not None:
                    self._edited |= self._weights.follow_edits()
                if self._edited and not self.active_hooks():
                    self._measure_again()
            yield

    def _measure_again(self) -> None:
        """Measure what other weights may decide otherwise: norms whose weights were all one turned like any keys."""
        from promptscope.models.keys import key_rules  # needs this module

        self.facts = replace(self.facts, keys=key_rules(self))
        if self.family.kind != "seq2seq":
            self.facts = replace(self.facts, head=head_of(self.twin))
        self._edited = False

    def _check_points(self, names: list[str]) -> None:
        """Raise ModelError for hook points that exist and never fire: a hook there does nothing, without a word."""
        silent = [name for name in names if name in self._silent]
        if silent:
            raise ModelError(
                f"the hook point {silent[0]!r} exists on {self.name!r} and never fires: a hook there would do nothing. "
                "model.hook_points() lists those that do"
            )

    def logits(
        self,
        input_ids: Int[Tensor, "B n"],
        attention_mask: Int[Tensor, "B n"] | None = None,
        prompt: PromptLike | None = None,
        via: Via = "auto",
        decoder_input_ids: Int[Tensor, "B m"] | None = None,
        unseen: Bool[Tensor, "B n"] | None = None,
        hooks: Iterable[Hook] = (),
        token_type_ids: Int[Tensor, "B n"] | None = None,
    ) -> Float[Tensor, "B t V"]:
        """Return logits `[B, n, V]` at the positions of *input_ids* (encoder-decoders: of *decoder_input_ids*).

        Either side may be padded: a row's logits are those of the row alone. Values at padding are meaningless.
        Gradients reach the prompt, never the model. An encoder-decoder without *decoder_input_ids* is asked
        for its first token.

        `via="hooks"` runs the hooked model, which defines what a prompt does; `"prefix"` runs the twin with
        the prompt's keys and values (causal models); `"auto"` takes the faster of the two, and the hooked model where
        *hooks* are given or attached, see `model.hooks`.

        *unseen* (masked models) marks tokens that keep their positions and read the others, and that nothing
        attends to, not even they themselves. *token_type_ids* (BERT) are 0 on the first and 1 on the second text of
        a pair; a prompt's positions are of type 0. Models that have one type only leave them out.

        Raises:
            PromptError: the prompt does not fit this model, or prompt and text exceed its context.
            ModelError: inputs of the wrong kind or shape, or *unseen* on another model.
        """
        _check_prompt(prompt)
        if decoder_input_ids is not None:
            self.rules.check_decoder_inputs(decoder_input_ids, len(input_ids))
        with self.turn(hooks):
            return self._logits(input_ids, attention_mask, prompt, via, decoder_input_ids, unseen, token_type_ids)

    def right_padded(
        self, input_ids: Tensor, attention_mask: Tensor | None, decoder_input_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Check inputs, move padding to the right, and give encoder-decoders the token that starts their answers."""
        input_ids, mask = self.rules.check_inputs(input_ids, attention_mask)
        if decoder_input_ids is not None:
            self.rules.check_decoder_inputs(decoder_input_ids, len(input_ids))
        order = to_right_padding(mask)
        return input_ids.gather(1, order), mask.gather(1, order), self._decoder_inputs(input_ids, decoder_input_ids)

    def _decoder_inputs(self, input_ids: Tensor, given: Tensor | None) -> Tensor | None:
        if given is not None or self.family.kind != "seq2seq":
            return given
        if (start := self.decoder_start_id) is None:
            raise ModelError(f"config.json of {self.name!r} has no decoder_start_token_id: pass decoder_input_ids")
        return input_ids.new_full((len(input_ids), 1), start)

    def _logits(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        prompt: PromptLike | None,
        via: Via,
        decoder_input_ids: Tensor | None,
        unseen: Tensor | None,
        types: Tensor | None,
    ) -> Tensor:
        input_ids, mask = self.rules.check_inputs(input_ids, attention_mask)
        order = to_right_padding(mask)
        input_ids, mask = input_ids.gather(1, order), mask.gather(1, order)
        if unseen is not None:
            self.rules.check_unseen(input_ids, unseen)
            unseen = unseen.to(self.device).gather(1, order)
        types = self.rules.check_types(input_ids, types)
        if types is not None:
            types = types.gather(1, order)
        decoder_input_ids = self._decoder_inputs(input_ids, decoder_input_ids)
        placement = prompt.place(self) if prompt is not None else None
        if self.resolve_via(placement, via) == "hooks":
            more: dict[str, Any] = {"decoder_input_ids": decoder_input_ids, "unseen": unseen, "token_type_ids": types}
            logits = self.forward_hooked(input_ids, mask, placement, **more)
            slots = placement.slots(self) if placement is not None else {}
            logits = logits[:, slots.get("encoder" if decoder_input_ids is None else "decoder", 0) :]
        elif self.family.kind == "causal":
            prefix = prefix_of(placement, self) if placement is not None else None
            logits = self.unembed(self.hidden(input_ids, mask, prefix))
        elif self.family.kind == "seq2seq":
            logits = self.twin(
                input_ids=input_ids, attention_mask=mask, decoder_input_ids=decoder_input_ids, use_cache=False
            ).logits
        else:
            seen = mask if unseen is None else mask * ~unseen
            typed = {} if types is None else {"token_type_ids": types}
            # Some count positions by which tokens are padding: told them, a text may hold that token.
            typed |= self.told_positions(torch.arange(input_ids.shape[1], device=self.device).expand(input_ids.shape))
            logits = self.twin(input_ids=input_ids, attention_mask=seen, **typed).logits
        return logits if decoder_input_ids is not None else restore_order(logits, order)

    def run_with_cache(
        self,
        texts: Tensor | str | Sequence[str],
        attention_mask: Tensor | None = None,
        prompt: PromptLike | None = None,
        names_filter: str | Sequence[str] | Callable[[str], bool] | None = None,
        hooks: Iterable[Hook] = (),
        decoder_input_ids: Tensor | None = None,
    ) -> tuple[Tensor, PromptCache]:
        """Return logits and all activations, as TransformerLens' `run_with_cache` does: `(logits, cache)`.

        Both are laid out as `[k prompt slots | text | padding]`; `cache.positions` names the columns. *texts* is one
        text, several, or input ids `[B, n]` with their *attention_mask*, padded on either side. The cache is an
        `ActivationCache`: `cache["resid_post", 3]`, `cache["blocks.3.attn.hook_pattern"]`, `cache.decompose_resid()`;
        `cache.labelled(name)` has names for its dimensions and positions. Hooks that are attached act, then *hooks*.

        Args:
            texts: what is run; without special tokens but those that the tokenizer adds.
            attention_mask: of input ids: 1 for tokens and 0 for padding.
            prompt: placed before every text.
            names_filter: what is kept: hook points or sites (`"attn.hook_pattern"`), or a function of the name;
                everything by default, which is much: a probe keeps less.
            hooks: for this run.
            decoder_input_ids: of encoder-decoders; by default the token that starts their answers.

        Raises:
            ModelError: no such hook point, or inputs of the wrong kind; PromptError: the prompt does not fit.

        >>> import promptscope as ps
        >>> model = ps.load_model("embedded-causal")
        >>> logits, cache = model.run_with_cache("Lima is in", prompt=ps.SoftPrompt(4), names_filter="hook_resid_post")
        >>> cache.positions["pos"][3:5], len(cache.cache_dict) == model.shape.n_layers
        (['prompt 3', 'text 0'], True)
        """
        _check_prompt(prompt)
        with self.turn():
            return cached_run(self, texts, attention_mask, prompt, names_filter, hooks, decoder_input_ids)

    def firing_points(self) -> list[str]:
        """Return all hook points of the bridge that fire, those too that `hook_points()` does not vouch for."""
        reason = self.bridge._gated_hook_reason
        return [
            name
            for name, point in self.bridge.hook_dict.items()
            if name not in self._silent and not reason(point.name or name)
        ]

    def resolve_via(self, prompt: PromptLike | None, via: Via) -> Literal["hooks", "prefix"]:
        """Return which way a prompt runs: `"hooks"`, or `"prefix"` (the plain model, the prompt as a cache).

        Raises:
            PromptError: a prefix cache is asked for where none does what the prompt asks.
            ModelError: no such way, or hooks are attached, under which there is no prefix cache.
        """
        if via not in ("auto", "hooks", "prefix"):
            raise ModelError(f"via must be 'auto', 'hooks' or 'prefix', not {via!r}")
        if via == "prefix" and self.family.kind != "causal":
            raise PromptError(
                f"a prefix cache exists for causal models only, and {self.name!r} is a {self.family.kind} model: "
                "use via='hooks' or 'auto'"
            )
        if self.is_elsewhere or self.active_hooks():
            if via == "prefix":
                why = "is not in this memory" if self.is_elsewhere else "has hooks attached"
                raise ModelError(f"{self.name!r} {why}, where no prefix cache runs: use via='hooks' or 'auto'")
            return "hooks"
        if via == "auto":
            if prompt is not None and self.family.kind == "causal" and self.needs_hooks([prompt.place(self)]):
                return "hooks"
            return "prefix" if prompt is None or self.family.kind == "causal" else "hooks"
        if via == "prefix" and prompt is not None and self.needs_hooks([placement := prompt.place(self)]):
            what = "hidden positions" if placement.hidden else "a prompt that some layers do not see"
            raise PromptError(
                f"no prefix cache of {self.name!r} does what this prompt asks"
                f" ({self.facts.why_no_cache or self.facts.why_inlined or what}): use via='hooks' or 'auto'"
            )
        return via

    @property
    def counts_columns(self) -> bool:
        """Whether some attention goes by how many columns lie between two tokens, and not by the positions told."""
        facts = self.facts
        return facts.window is not None or facts.why_inlined is not None or not facts.takes_positions

    def needs_hooks(self, placements: Sequence[Placement]) -> bool:
        """Say whether a causal model must run as the bridge: under hooks, or because no cache does what prompts ask.

        A cache holds no keys of hidden positions, so that within a window what comes before them would seem nearer than
        it is, as it would where positions are counted and not told. That some layers do not see a prompt is an edit of
        attention.
        """
        if self.is_elsewhere or self.active_hooks():
            return True
        facts = self.facts
        if facts.why_no_cache is not None and placements:
            return True
        if self.counts_columns and any(placement.hidden for placement in placements):
            return True
        return facts.why_inlined is not None and not all(one.sees_everywhere(self) for one in placements)

    def forward_hooked(
        self,
        input_ids: Int[Tensor, "B n"],
        attention_mask: Int[Tensor, "B n"] | None = None,
        prompt: PromptLike | None = None,
        hooks: Iterable[Hook] = (),
        decoder_input_ids: Int[Tensor, "B m"] | None = None,
        position_offset: int = 0,
        unseen: Bool[Tensor, "B n"] | None = None,
        token_type_ids: Int[Tensor, "B n"] | None = None,
        prefix: Prefix | None = None,
    ) -> Float[Tensor, "rows t V"]:
        """Run the bridge on a right-padded batch under a prompt's hooks, those attached, and then *hooks*.

        The layout inside is `[k prompt slots | text | padding]`, and so are the positions of the returned logits
        (a hook at `unembed.hook_in` may pick the rows and positions that are read).
        *position_offset* shifts all positions (absolute and rotary embeddings; T5's are relative). *unseen*,
        *token_type_ids*: see `logits`. *prefix* (causal models) is given instead of a prompt: texts attend to its keys
        and values, and the layout inside is that of the text alone.
        """
        input_ids, mask = self.rules.check_inputs(input_ids, attention_mask)
        if unseen is not None:
            self.rules.check_unseen(input_ids, unseen)
            mask = mask * ~unseen.to(self.device)
        types = self.rules.check_types(input_ids, token_type_ids)
        if prefix is not None and (prompt is not None or self.family.kind != "causal"):
            got = "both" if prompt is not None else f"a prefix on a model of the kind {self.family.kind!r}"
            raise ModelError(
                "forward_hooked takes a prompt or, on causal models, a prompt's prefix (its keys and values), got "
                f"{got}: give the prompt alone"
            )
        placement = prompt.place(self) if prompt is not None else None
        slots = placement.slots(self) if placement is not None else {}
        taken = slots.get("encoder", 0) if prefix is None else prefix.length
        self.rules.check_context(input_ids.shape[1], taken + position_offset)
        ids = prepend_slots(input_ids, slots.get("encoder", 0), fill=0)
        mask = prepend_slots(mask, slots.get("encoder", 0), fill=1)
        arguments: dict[str, Any] = {"attention_mask": mask}
        if types is not None:
            arguments["token_type_ids"] = prepend_slots(types, slots.get("encoder", 0), fill=0)
        if decoder_input_ids is not None:
            decoder_ids = decoder_input_ids.to(self.device)
            arguments["decoder_input_ids"] = prepend_slots(decoder_ids, slots.get("decoder", 0), fill=0)
        else:
            if prefix is not None:
                arguments |= {"past_key_values": prefix.cache(len(ids)), "use_cache": True}
                arguments["attention_mask"] = prepend_slots(mask, prefix.n_keys, fill=1)
                position_offset += prefix.length
            positions = torch.arange(ids.shape[1], device=self.device) + position_offset
            arguments |= self.told_positions(positions.expand(ids.shape))
        prompt_hooks = hooks_of(placement, self) if placement is not None else []
        # The prompt's hooks come first: whoever reads or edits its positions finds what it wrote there.
        with self._turn(), attach(self.bridge, first=prompt_hooks, last=as_hooks(hooks)):
            return self.bridge(ids, **arguments)

    def hidden(
        self,
        input_ids: Int[Tensor, "B n"],
        attention_mask: Int[Tensor, "B n"] | None = None,
        prefix: Prefix | None = None,
    ) -> Float[Tensor, "B n d_model"]:
        """Run the twin of a causal model on a right-padded batch, up to the final norm.

        Raises:
            ModelError: hooks are attached, which the twin has not.
        """
        self.need_no_hooks("model.hidden")
        input_ids, mask = self.rules.check_inputs(input_ids, attention_mask)
        if prefix is None:
            self.rules.check_context(input_ids.shape[1])
            return self.twin.base_model(input_ids=input_ids, attention_mask=mask, use_cache=False).last_hidden_state
        k = prefix.length
        self.rules.check_context(input_ids.shape[1], k)
        positions = torch.arange(k, k + input_ids.shape[1], device=self.device).expand(input_ids.shape)
        with attend_with(prefix, self.twin):
            return self.twin.base_model(
                input_ids=input_ids,
                # As wide as the cache and the text: with n alone it is silently wrong.
                attention_mask=prepend_slots(mask, prefix.n_keys, fill=1),
                past_key_values=prefix.cache(len(input_ids)),
                use_cache=True,
                **self.told_positions(positions),
            ).last_hidden_state

    def unembed(self, hidden: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows V"]:
        """Map last hidden states to logits: by the output embedding, and whatever else the model does there.

        Not for encoder-decoders, whose decoders make theirs.
        """
        if self.facts.head == "model":
            return self._model_head(hidden)
        head = self.twin.get_output_embeddings()
        assert head is not None
        return head(hidden)

    def hooked_unembed(self, hidden: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows V"]:
        """Do as `unembed` does, under the hooks that are attached to the bridge."""
        if self.facts.head == "model":
            return model_head(self.bridge.original_model)(hidden)
        return self.bridge.unembed(hidden)

    @cached_property
    def _model_head(self) -> Callable[[Tensor], Tensor]:
        return model_head(self.twin)

    def need_no_hooks(self, what: str) -> None:
        """Raise ModelError where hooks are attached: *what* runs the twin, and would ignore them."""
        if attached := self.active_hooks():
            raise ModelError(
                f"{what} runs the plain model, and {self.name!r} has hooks attached ({attached[0].point}), which it "
                "would ignore: leave the `with model.hooks(...)` block, or use model.logits, which obeys them"
            )

    @property
    def decoder_start_id(self) -> int | None:
        """The token with which an encoder-decoder starts to write, None for other kinds."""
        config = self.twin.config
        if self.family.kind != "seq2seq":
            return None
        start = getattr(config, "decoder_start_token_id", None)
        decoder = getattr(config, "decoder", None)  # T5Gemma's own config, whose targets begin with <bos>
        return start if start is not None else getattr(decoder, "bos_token_id", None)


def _check_prompt(prompt: object) -> None:
    if prompt is not None and not isinstance(prompt, PromptLike):
        raise PromptError(f"prompt must be a soft prompt, such as ps.SoftPrompt(20), not {prompt!r}")
