"""Packed passes: logits without padding, for each kind of model."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from promptscope.engine.causal import hidden_rows
from promptscope.engine.encoder import encoder_logits
from promptscope.engine.flex import fastest_pass
from promptscope.engine.seq2seq import seq2seq_logits
from promptscope.engine.settings import kernel
from promptscope.engine.shared import Shared
from promptscope.engine.template import common_template
from promptscope.engine.texts import Texts
from promptscope.models import HookedModel, Placement


def packed_logits(
    model: HookedModel,
    texts: Texts,
    placements: Sequence[Placement] = (),
    which: Int[Tensor, "R"] | None = None,
    shared: Shared | None = None,
) -> Float[Tensor, "rows V"]:
    """Compute `logits` in a packed pass, without padding."""
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
            shared = Shared.of(model, placements, common_template(texts.ids, real, where, which, len(placements)))
        c = shared.n_template
        own = (texts.ids[:, c:], real[:, c:], which)
        hidden, _ = hidden_rows(model, shared, *own, kind=fastest_pass(model), where=where[:, c:])
        return model.unembed(hidden)
