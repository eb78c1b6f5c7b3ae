"""Logits where they are wanted, and texts that go on, computed in the fastest way that is right here."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from promptscope.engine.causal import computed, hidden_rows
from promptscope.engine.choice import is_packed, kernel
from promptscope.engine.decode import TextContinuation
from promptscope.engine.encoder import encoder_logits
from promptscope.engine.gpu import fastest_pass
from promptscope.engine.linears import notice_edits
from promptscope.engine.plain import DecodedAgain, PlainContinuation, ReadAgain, plain_logits
from promptscope.engine.seq2seq import seq2seq_logits
from promptscope.engine.seq2seq_decode import TargetContinuation
from promptscope.engine.shared import Shared
from promptscope.engine.template import common_prefix, common_template
from promptscope.engine.texts import Texts
from promptscope.errors import ModelError
from promptscope.models import HookedModel, Placement, PromptLike, prefix_of


def place(model: HookedModel, prompts: Sequence[PromptLike]) -> list[Placement]:
    """Return the placements of *prompts*, computed once for a step: all its passes take them as they take prompts.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> [placement.length for placement in place(model, [ps.SoftPrompt(length=4), ps.DeepPrompt(length=2)])]
    [4, 2]
    """
    return [prompt.place(model) for prompt in prompts]


def logits(
    model: HookedModel,
    texts: Texts,
    prompts: Sequence[PromptLike] = (),
    which: Int[Tensor, "R"] | None = None,
    shared: Shared | None = None,
) -> Float[Tensor, "rows V"]:
    """Return the logits of *texts* where they are wanted, text by text.

    Text r follows `prompts[which[r]]`: prompts (or placements) of one kind and length. *shared* (causal models)
    is what `share` made of the same prompts before: their keys and values are then not computed again.

    Under attached hooks (`HookedModel.hooks`) the bridge runs, prompt by prompt, and nothing is shared.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> ids = torch.tensor([[5, 7, 9], [5, 9, 0]])
    >>> texts = Texts(ids, mask=(ids > 0).long(), where=ids == 9)
    >>> logits(model, texts, [ps.SoftPrompt(length=4).bind(model)], which=torch.tensor([0, 0])).shape[0]
    2
    """
    placements = place(model, prompts)
    run = packed_logits if is_packed(model, placements) else plain_logits
    return run(model, texts, placements, which, shared)


def share(model: HookedModel, prompts: Sequence[PromptLike] = (), texts: Sequence[Sequence[int]] = ()) -> Shared | None:
    """Compute once what comes before *texts*: the prompts' keys and values, and those of a common beginning.

    *texts*: all texts that will run after each of the prompts, without the token whose logits are wanted first. None
    where a model cannot (it is not causal).

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> share(model, [ps.SoftPrompt(length=4).bind(model)], texts=[[5, 7, 9], [5, 7, 8]]).n_template
    2
    """
    notice_edits(model.twin)
    placements = place(model, prompts)
    if model.family.kind != "causal" or model.needs_hooks(placements):
        return None
    if not is_packed(model, placements):
        return Shared(1, prefix_of(placements[0], model)) if len(placements) == 1 else None
    alike = all(placement.sees_everywhere(model) for placement in placements)
    template = common_prefix(texts) if texts and alike else []
    with kernel(model):
        return computed(model, Shared.of(model, placements, [template] * max(len(placements), 1) if template else []))


def packed_logits(
    model: HookedModel,
    texts: Texts,
    placements: Sequence[Placement] = (),
    which: Int[Tensor, "R"] | None = None,
    shared: Shared | None = None,
) -> Float[Tensor, "rows V"]:
    """Do as `logits` says, without padding."""
    with kernel(model):
        if model.family.kind == "masked":
            return encoder_logits(model, texts, placements, which)
        if model.family.kind == "seq2seq":
            return seq2seq_logits(model, texts, placements, which)
        # Nothing that is wanted can see what follows it: the label's last token, say, does not run.
        where = texts.where
        steps = torch.arange(where.shape[1], device=where.device)
        real = texts.mask.bool() & (steps <= (where * steps).amax(dim=1, keepdim=True))
        if shared is None:
            shared = Shared.of(model, placements, _template(model, replace(texts, mask=real), placements, which))
        c = shared.n_template
        own = (texts.ids[:, c:], real[:, c:], which)
        hidden, _ = hidden_rows(model, shared, *own, kind=fastest_pass(model), where=where[:, c:])
        return model.unembed(hidden)


def _template(
    model: HookedModel, texts: Texts, placements: Sequence[Placement], which: Tensor | None
) -> list[list[int]]:
    return common_template(texts.ids, texts.mask.bool(), texts.where, which, len(placements))


@runtime_checkable
class Continuation(Protocol):
    """R texts that have been read: `last` are the logits after them (encoder-decoders: after the start token).

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> ids = model.tokenizer("Lima is in", return_tensors="pt")["input_ids"]
    >>> text = continue_(model, ids, torch.ones_like(ids), [], room=1)
    >>> text.read(text.last.argmax(-1, keepdim=True)).shape == (1, 1, model.shape.vocab_size)
    True
    """

    last: Float[Tensor, "R V"]

    def read(self, ids: Int[Tensor, "R m"]) -> Float[Tensor, "R m V"]:
        """Append *ids* and return the logits after each."""
        ...

    def rewind(self) -> None:
        """Forget everything that was appended."""
        ...


def continue_(
    model: HookedModel,
    ids: Int[Tensor, "R n"],
    mask: Int[Tensor, "R n"] | Bool[Tensor, "R n"],
    prompts: Sequence[PromptLike],
    room: int,
    shared: Shared | None = None,
) -> Continuation:
    """Read texts, after one prompt or none, and keep room for *room* tokens after each.

    *shared* (causal models): what comes before all of them, see `share`.

    Raises:
        ModelError: a masked language model, whose texts cannot go on.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> ids = model.tokenizer("Lima is in", return_tensors="pt")["input_ids"]
    >>> text = continue_(model, ids, torch.ones_like(ids), [ps.SoftPrompt(length=4).bind(model)], room=2)
    >>> text.last.shape == (1, model.shape.vocab_size)
    True
    """
    kind, placements = model.family.kind, place(model, prompts)
    if kind == "masked":
        raise ModelError(f"{model.name!r} is a masked language model: its texts cannot go on")
    if kind == "seq2seq":
        way = TargetContinuation if is_packed(model, placements) else DecodedAgain
        return way(model, placements, ids, mask.bool())
    if model.needs_hooks(placements):
        return ReadAgain(model, placements, ids, mask, room)
    if not is_packed(model, placements):
        everywhere = all(placement.sees_everywhere(model) for placement in placements)
        if not model.facts.reads_on or (model.counts_columns and not everywhere):
            return ReadAgain(model, placements, ids, mask, room)
        return PlainContinuation(model, placements, ids, mask, room, shared)
    if shared is None:
        shared = Shared.of(model, placements)
    c = shared.n_template
    return TextContinuation(model, shared, ids[:, c:], mask.bool()[:, c:], room)
