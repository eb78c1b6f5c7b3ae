"""Logits where they are needed, by the fastest way that this model and these prompts allow."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from promptscope.engine.causal import computed, hidden_rows
from promptscope.engine.choice import is_packed, kernel
from promptscope.engine.encoder import encoder_logits
from promptscope.engine.gpu import fastest_pass
from promptscope.engine.linears import notice_edits
from promptscope.engine.seq2seq import seq2seq_logits
from promptscope.engine.shared import Shared, sees_everywhere
from promptscope.engine.template import common_prefix, common_template
from promptscope.models import HookedModel
from promptscope.prompts import Prompt


def logits_where(
    model: HookedModel,
    where: Bool[Tensor, "R t"],
    ids: Int[Tensor, "R n"],
    mask: Int[Tensor, "R n"],
    prompts: Sequence[Prompt] = (),
    which: Int[Tensor, "R"] | None = None,
    decoder_ids: Int[Tensor, "R m"] | None = None,
    shared: Shared | None = None,
    unseen: Bool[Tensor, "R n"] | None = None,
) -> Float[Tensor, "rows V"]:
    """Return logits of a padded batch at the positions marked in *where*, text by text.

    Padding behind a text changes nothing; padding in front moves it so many positions away from its prompt. Text r
    stands behind `prompts[which[r]]`: prompts of one kind and length. *shared* (causal models) is what
    `share` made of the same prompts before: their keys and values are then not computed again. *unseen* (masked
    models) marks tokens that nothing attends to.

    Under attached hooks (`HookedModel.hooks`) the bridge runs, prompt by prompt, and nothing is shared.
    """
    run = packed_logits if is_packed(model, prompts) else _plain_logits
    return run(model, where, ids, mask, prompts, which, decoder_ids, shared, unseen)


def share(model: HookedModel, prompts: Sequence[Prompt] = (), texts: Sequence[Sequence[int]] = ()) -> Shared | None:
    """Compute once what stands in front of *texts*: the prompts' keys and values, and those of a common beginning.

    *texts*: all texts that will run behind it, each without the token whose logits are wanted first. One prompt or
    none; several prompts share no beginning. None where a model cannot (it is not causal).
    """
    notice_edits(model.twin)
    if model.family.kind != "causal" or model.active_hooks():
        return None
    if not is_packed(model, prompts):
        return Shared(1, prompts[0].bind(model).prefix(model)) if len(prompts) == 1 else None
    alone = len(prompts) <= 1 and sees_everywhere(model, prompts)
    template = common_prefix(texts) if texts and alone else []
    with kernel(model):
        return computed(model, Shared.of(model, prompts, [template] if template else []))


def packed_logits(
    model: HookedModel,
    where: Bool[Tensor, "R t"],
    ids: Int[Tensor, "R n"],
    mask: Int[Tensor, "R n"],
    prompts: Sequence[Prompt] = (),
    which: Int[Tensor, "R"] | None = None,
    decoder_ids: Int[Tensor, "R m"] | None = None,
    shared: Shared | None = None,
    unseen: Bool[Tensor, "R n"] | None = None,
) -> Float[Tensor, "rows V"]:
    """Do as `logits_where` says, without padding."""
    real = mask.bool()
    with kernel(model):
        if model.family.kind == "masked":
            return encoder_logits(model, prompts, where, ids, real, which, unseen)
        if model.family.kind == "seq2seq":
            assert decoder_ids is not None
            return seq2seq_logits(model, prompts, where, ids, real, decoder_ids, which)
        # Nothing that is wanted can see what lies behind it: the label's last token, say, does not run.
        steps = torch.arange(where.shape[1], device=where.device)
        real = real & (steps <= (where * steps).amax(dim=1, keepdim=True))
        if shared is None:
            shared = Shared.of(model, prompts, common_template(ids, real, where, which, len(prompts)))
        c = shared.n_template
        texts = (ids[:, c:], real[:, c:], which)
        hidden, _ = hidden_rows(model, shared, *texts, kind=fastest_pass(model), where=where[:, c:])
        return model.unembed(hidden)


def _plain_logits(
    model: HookedModel,
    where: Tensor,
    ids: Tensor,
    mask: Tensor,
    prompts: Sequence[Prompt],
    which: Tensor | None,
    decoder_ids: Tensor | None,
    shared: Shared | None,
    unseen: Tensor | None,
) -> Tensor:
    if len(prompts) <= 1 or which is None:
        prefix = shared.prefix if shared is not None else None
        return model.logits_where(where, ids, mask, prompts[0] if prompts else None, decoder_ids, prefix, unseen)
    # Prompt by prompt, and back into the order of the texts.
    of_row = where.nonzero()[:, 0]  # text of each row of the answer
    out: Tensor | None = None
    for g, prompt in enumerate(prompts):
        mine = which == g
        if not bool(mine.any()):
            continue
        decoders = decoder_ids[mine] if decoder_ids is not None else None
        hidden = unseen[mine] if unseen is not None else None
        logits = model.logits_where(where[mine], ids[mine], mask[mine], prompt, decoders, unseen=hidden)
        out = logits.new_zeros(len(of_row), logits.shape[1]) if out is None else out
        out = out.index_put((mine[of_row].nonzero()[:, 0],), logits)
    assert out is not None
    return out
