"""The hooked model: one frozen transformer, run with hooks (`bridge`) or as the plain model (`twin`)."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from promptscope.cards import card
from promptscope.errors import ModelError, PromptError
from promptscope.models.attached import Hook, as_hooks, attach, silent_points
from promptscope.models.caching import Names, PromptCache, keep, named_positions, names_to_keep, tokens_of
from promptscope.models.hookable import HookableModel
from promptscope.models.layout import prepend_slots, restore_order, to_right_padding
from promptscope.models.placement import Placement
from promptscope.models.placement_hooks import hooks_of
from promptscope.models.placement_prefix import prefix_of
from promptscope.models.prefix import Prefix, attend_with
from promptscope.undo import leaving_as_found

Via = Literal["auto", "hooks", "prefix"]
"""How a prompt is run: as hooks, as a prefix cache (causal models), or whichever is faster."""


@runtime_checkable  # so that beartype can check it
class PromptLike(Protocol):
    """The protocol of prompts: an object with a method `place(model)` that returns a `Placement`.

    >>> import promptscope as ps
    >>> isinstance(ps.SoftPrompt(length=4), PromptLike)
    True
    """

    def place(self, model: "HookedModel") -> Placement:
        """Return the vectors, or keys and values, at the prompt positions before a text on *model*."""


class HookedModel(HookableModel):
    """A frozen transformer that runs with hooks and with soft prompts; `ps.load_model` makes it.

    `bridge` is the model with hook points (a TransformerLens `TransformerBridge`, or nnsight), `twin` is the plain
    transformers model; both share one set of weights. `family` says which hook points the architecture has, `name` and
    `revision` what was loaded. Every batch runs with the layout `[k prompt positions | text | padding]`, on whichever
    side its input was padded: token t of the text is at position k + t of the model.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> text = model.tokenizer(["Lima is in"], return_tensors="pt")
    >>> model.logits(text["input_ids"], text["attention_mask"], prompt=ps.SoftPrompt(4)).shape
    torch.Size([1, 3, 4096])
    >>> with model.hooks([("blocks.2.hook_resid_post", lambda activation, hook: 0 * activation)]):
    ...     edited = model.logits(text["input_ids"], text["attention_mask"])
    """

    def find_silent_points(self) -> None:
        """Record which hook points exist but never fire, by one pass on a tiny batch; `load_model` calls this."""
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

    @leaving_as_found
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
        """Return logits `(B, n, V)` at the n positions of *input_ids*, with a prompt before each text.

        For encoder-decoders they are `(B, m, V)` at the positions of *decoder_input_ids*. A row's logits do not depend
        on the other rows or on the padding; those at padded positions have no meaning. Gradients flow to the prompt;
        the model's weights get none.

        Args:
            input_ids: token ids `(B, n)`, padded on either side.
            attention_mask: 1 for tokens and 0 for padding; by default all are tokens.
            prompt: a soft prompt, or None.
            via: `"hooks"` runs `bridge` with the prompt's hooks, which define what a prompt does; `"prefix"` runs
                `twin` with the prompt's keys and values as a cache (causal models); `"auto"` takes the faster of the
                two where both give the same, and `"hooks"` if hooks are given or attached.
            decoder_input_ids: for encoder-decoders `(B, m)`; by default the one token that starts their answers.
            unseen: for masked models, True `(B, n)` on tokens that keep their positions and attend to others, but to
                which no token attends, not even themselves.
            hooks: hooks for this call, see `model.hooks`.
            token_type_ids: for BERT, 0 on the first and 1 on the second text of a pair; prompt positions have type 0.
                Models with a single type ignore them.

        Raises:
            PromptError: the prompt does not fit this model, or prompt and text exceed its context.
            ModelError: inputs of the wrong kind or shape, or *unseen* on a model that is not a masked one.

        >>> import promptscope as ps
        >>> model = ps.load_model("embedded-causal")
        >>> batch = model.tokenizer(["Lima is in", "Oslo is in"], return_tensors="pt")
        >>> model.logits(batch["input_ids"], batch["attention_mask"], prompt=ps.SoftPrompt(4)).shape
        torch.Size([2, 3, 4096])
        """
        _check_prompt(prompt)
        if decoder_input_ids is not None:
            self.rules.check_decoder_inputs(decoder_input_ids, len(input_ids))
        with self.turn(hooks):
            return self._logits(input_ids, attention_mask, prompt, via, decoder_input_ids, unseen, token_type_ids)

    @leaving_as_found
    def right_padded(
        self, input_ids: Tensor, attention_mask: Tensor | None, decoder_input_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Check inputs and return ids, mask and decoder ids with all padding on the right.

        For an encoder-decoder without *decoder_input_ids*, these are the token that starts its answers."""
        input_ids, mask = self.rules.check_inputs(input_ids, attention_mask)
        if decoder_input_ids is not None:
            self.rules.check_decoder_inputs(decoder_input_ids, len(input_ids))
        order = to_right_padding(mask)
        return input_ids.gather(1, order), mask.gather(1, order), self._decoder_inputs(input_ids, decoder_input_ids)

    def _decoder_inputs(self, input_ids: Tensor, given: Tensor | None) -> Tensor | None:
        if given is not None or self.family.kind != "seq2seq":
            return given
        if (start := self.decoder_start_id) is None:
            raise ModelError(
                f"config.json of {self.name!r} has no decoder_start_token_id: pass decoder_input_ids, of shape (B, m)"
            )
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

    @leaving_as_found
    def run_with_cache(
        self,
        texts: Tensor | str | Sequence[str],
        attention_mask: Tensor | None = None,
        prompt: PromptLike | None = None,
        names_filter: Names = None,
        hooks: Iterable[Hook] = (),
        decoder_input_ids: Tensor | None = None,
    ) -> tuple[Tensor, PromptCache]:
        """Run texts and return `(logits, cache)` with all activations, as TransformerLens' `run_with_cache` does.

        The positions of both are `[k prompt positions | text | padding]`, and `cache.positions` names them. The cache
        is an `ActivationCache`: `cache["resid_post", 3]`, `cache["blocks.3.attn.hook_pattern"]`,
        `cache.decompose_resid()`; `cache.labelled(name)` gives an activation with named dimensions and positions.
        Attached hooks run first, then *hooks*.

        Args:
            texts: a text, a list of texts, or token ids `(B, n)`, padded on either side. Texts get the special tokens
                that the tokenizer adds, and no others.
            attention_mask: for token ids, 1 for tokens and 0 for padding.
            prompt: a soft prompt that is placed before every text, or None.
            names_filter: the activations to keep: names of hook points or sites (`"attn.hook_pattern"`), or a function
                of the name that returns a bool. By default all are kept, which takes much memory.
            hooks: hooks for this run, see `model.hooks`.
            decoder_input_ids: for encoder-decoders `(B, m)`; by default the one token that starts their answers.

        Raises:
            ModelError: there is no such hook point, or inputs are of the wrong kind.
            PromptError: the prompt does not fit this model, or prompt and text exceed its context.

        >>> import promptscope as ps
        >>> model = ps.load_model("embedded-causal")
        >>> logits, cache = model.run_with_cache("Lima is in", prompt=ps.SoftPrompt(4), names_filter="hook_resid_post")
        >>> cache.positions["pos"][3:5], len(cache.cache_dict) == model.shape.n_layers
        (['prompt 3', 'text 0'], True)
        """
        _check_prompt(prompt)
        with self.turn():
            ids, mask, decoder_ids = self.right_padded(*tokens_of(self, texts, attention_mask), decoder_input_ids)
            kept: dict[str, Tensor] = {}
            reading = [(name, partial(keep, kept, name)) for name in names_to_keep(self, names_filter)]
            placement = prompt.place(self) if prompt is not None else None
            logits = self.forward_hooked(ids, mask, placement, [*hooks, *reading], decoder_ids)
            slots = placement.slots(self) if placement is not None else {}
            widths = {"pos": ids.shape[1]} | ({} if decoder_ids is None else {"dec_pos": decoder_ids.shape[1]})
            return logits, PromptCache(kept, self, named_positions(slots, widths), mask.bool())

    def resolve_via(self, prompt: PromptLike | None, via: Via) -> Literal["hooks", "prefix"]:
        """Return how a prompt runs: `"hooks"` (on `bridge`), or `"prefix"` (on `twin`, the prompt as a cache).

        Raises:
            PromptError: `via="prefix"`, and a prefix cache cannot express this prompt on this model.
            ModelError: *via* is none of the three, or `via="prefix"` while hooks are attached.
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
                raise ModelError(f"{self.name!r} {why}, so that no prefix cache can be used: use via='hooks' or 'auto'")
            return "hooks"
        if via == "auto":
            if prompt is not None and self.family.kind == "causal" and self.needs_hooks([prompt.place(self)]):
                return "hooks"
            return "prefix" if prompt is None or self.family.kind == "causal" else "hooks"
        if via == "prefix" and prompt is not None and self.needs_hooks([placement := prompt.place(self)]):
            what = "its positions are hidden" if placement.hidden else "some layers do not attend to the prompt"
            raise PromptError(
                f"this prompt cannot run as a prefix cache of {self.name!r} "
                f"({self.facts.why_no_cache or self.facts.why_inlined or what}): use via='hooks' or 'auto'"
            )
        return via

    def needs_hooks(self, placements: Sequence[Placement]) -> bool:
        """Return whether a causal model must run on `bridge`: it has hooks, or a cache cannot express the prompts.

        A cache leaves out the keys of hidden positions. With an attention window, or where the model counts positions
        itself, tokens before hidden positions would then be nearer than they are. A prompt to which only some layers
        attend needs a changed attention function.
        """
        if self.is_elsewhere or self.active_hooks():
            return True
        facts = self.facts
        if facts.why_no_cache is not None and placements:
            return True
        if self.counts_columns and any(placement.hidden for placement in placements):
            return True
        return facts.why_inlined is not None and not all(one.sees_everywhere(self) for one in placements)

    @leaving_as_found
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
        """Run `bridge` on a right-padded batch with the prompt's hooks, the attached hooks, and then *hooks*.

        Return logits at the positions `[k prompt positions | text | padding]`, `(B, k + n, V)`; a hook at
        `unembed.hook_in` may select fewer rows and positions. *position_offset* is added to all positions (absolute and
        rotary embeddings; T5's are relative). With *prefix* (causal models) in place of a prompt, texts attend to its
        keys and values, and the positions are those of the text alone. The other arguments are those of `logits`.

        Raises:
            PromptError: prompt and text exceed the model's context.
            ModelError: inputs of the wrong kind, or a prefix together with a prompt or on a model that is not causal.
        """
        input_ids, mask = self.rules.check_inputs(input_ids, attention_mask)
        if unseen is not None:
            self.rules.check_unseen(input_ids, unseen)
            mask = mask * ~unseen.to(self.device)
        types = self.rules.check_types(input_ids, token_type_ids)
        if prefix is not None and (prompt is not None or self.family.kind != "causal"):
            got = "both" if prompt is not None else f"a prefix on a model of the kind {self.family.kind!r}"
            raise ModelError(
                "forward_hooked takes a prompt or, on causal models, a prefix (the keys and values of a prompt), got "
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

    @leaving_as_found
    def hidden(
        self,
        input_ids: Int[Tensor, "B n"],
        attention_mask: Int[Tensor, "B n"] | None = None,
        prefix: Prefix | None = None,
    ) -> Float[Tensor, "B n d_model"]:
        """Return the last hidden states (after the final norm) of a right-padded batch on `twin`, a causal model.

        Raises:
            ModelError: hooks are attached, which `twin` would ignore.
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


def _check_prompt(prompt: object) -> None:
    if prompt is not None and not isinstance(prompt, PromptLike):
        raise PromptError(
            f"prompt must be a soft prompt, such as ps.SoftPrompt(20), got {prompt!r} ({type(prompt).__name__})"
        )
