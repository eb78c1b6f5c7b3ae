"""Logits at chosen positions, and continuation of texts, computed in the fastest way that is correct."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from promptscope.engine.causal import computed
from promptscope.engine.choice import is_packed
from promptscope.engine.decode import TextContinuation
from promptscope.engine.linears import notice_edits
from promptscope.engine.packed import packed_logits
from promptscope.engine.plain import DecodedAgain, PlainContinuation, ReadAgain, plain_logits
from promptscope.engine.seq2seq_decode import TargetContinuation
from promptscope.engine.settings import kernel
from promptscope.engine.shared import Shared
from promptscope.engine.template import common_prefix
from promptscope.engine.texts import Texts
from promptscope.errors import ModelError
from promptscope.models import HookedModel, Placement, PromptLike, prefix_of


def place(model: HookedModel, prompts: Sequence[PromptLike]) -> list[Placement]:
    """Return the placements of *prompts*, so that they are computed once for several passes of a training step.

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
    """Return the logits `(rows, V)` at the positions marked in `texts.where`, text by text.

    Args:
        model: a hooked model.
        texts: the texts, and the positions whose logits are returned.
        prompts: prompts or placements of one kind and length; none runs the texts alone.
        which: the prompt of each text, by its number: text r comes after `prompts[which[r]]`. None: there is one prompt
            or none.
        shared: for causal models, the result of `share` for the same prompts, whose keys and values are then not
            computed again.

    While hooks are attached (`HookedModel.hooks`), the bridge runs, one prompt after the other, and *shared* is not
    used.

    >>> import torch, promptscope as ps
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
    """Compute once the keys and values of the prompts, and of the tokens with which all *texts* begin.

    *texts* are all texts (token ids) that will run after each of the prompts, each cut before the first token whose
    logits are wanted. Return None if the model is not causal.

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


@runtime_checkable
class Continuation(Protocol):
    """R texts that can be continued; `last (R, V)` are the logits after them (encoder-decoders: after the start token).

    >>> import torch, promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> ids = model.tokenizer("Lima is in", return_tensors="pt")["input_ids"]
    >>> text = continue_(model, ids, torch.ones_like(ids), [], room=1)
    >>> text.read(text.last.argmax(-1, keepdim=True)).shape == (1, 1, model.shape.vocab_size)
    True
    """

    last: Float[Tensor, "R V"]

    def read(self, ids: Int[Tensor, "R m"]) -> Float[Tensor, "R m V"]:
        """Append *ids* and return the logits after each appended token."""
        ...

    def rewind(self) -> None:
        """Remove all appended tokens."""
        ...


def continue_(
    model: HookedModel,
    ids: Int[Tensor, "R n"],
    mask: Int[Tensor, "R n"] | Bool[Tensor, "R n"],
    prompts: Sequence[PromptLike],
    room: int,
    shared: Shared | None = None,
) -> Continuation:
    """Run texts after one prompt or none, and return them so that up to *room* tokens can be appended to each.

    Args:
        model: a causal model or an encoder-decoder.
        ids: token ids `(R, n)`.
        mask: 1 or True on tokens, 0 or False on padding.
        prompts: one prompt, or none.
        room: the largest number of tokens to append.
        shared: for causal models, the result of `share` for the same prompt.

    Raises:
        ModelError: *model* is a masked language model, which cannot continue texts.

    >>> import torch, promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> ids = model.tokenizer("Lima is in", return_tensors="pt")["input_ids"]
    >>> text = continue_(model, ids, torch.ones_like(ids), [ps.SoftPrompt(length=4).bind(model)], room=2)
    >>> text.last.shape == (1, model.shape.vocab_size)
    True
    """
    kind, placements = model.family.kind, place(model, prompts)
    if kind == "masked":
        raise ModelError(
            f"{model.name!r} is a masked language model, which cannot continue texts: use a causal model or an "
            "encoder-decoder"
        )
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
