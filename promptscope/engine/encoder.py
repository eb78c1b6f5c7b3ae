"""Packed passes of masked language models: prompt rows and tokens of every text, without padding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from promptscope.engine.attention import How, running
from promptscope.engine.both_ways import attend_all, behind_prompts, each_text
from promptscope.engine.causal import in_front
from promptscope.engine.last_layer import read_only
from promptscope.engine.rows import Rows
from promptscope.engine.shared import stacked
from promptscope.engine.texts import Texts
from promptscope.models import HookedModel, Placement, Prefix
from promptscope.models.facts import Band
from promptscope.models.placement_prefix import written


@dataclass
class EncoderPass:
    """A pass over flat rows of R texts, each with the rows of its input-level prompt; deep prompts are a prefix."""

    rows: Rows
    prefix: Prefix | None
    which: Int[Tensor, "R"] | None
    bands: Sequence[Band | None]
    unseen: Bool[Tensor, "R n"] | None = None
    """True on tokens of each text, without its prompt, to which no row attends."""

    def attend(self, module: Any, query: Tensor, key: Tensor, value: Tensor, how: How) -> Tensor:
        """Attend from every row to its whole text and to the prompt before it."""
        front = in_front(self.prefix, module.layer_idx)
        band = self.bands[module.layer_idx] if self.bands else None
        return attend_all(query, key, value, self.rows, self.rows, front, self.which, how, band, self.unseen)


def encoder_logits(
    model: HookedModel, texts: Texts, placements: Sequence[Placement], which: Int[Tensor, "R"] | None = None
) -> Float[Tensor, "rows V"]:
    """Return the logits of a masked language model at the positions `texts.where`, text by text."""
    which = which if len(placements) > 1 else None
    vectors, at = stacked(model, placements)
    prefix = written(model, placements, "self")
    taken = placements[0].length if placements else 0
    own = Rows.of(texts.mask.bool())
    model.rules.check_context(own.width, taken)
    rows = behind_prompts(vectors, own)
    x, positions = model.embed(own.flatten(texts.ids)), taken + own.positions
    types = None if texts.token_types is None or not model.rules.has_token_types else own.flatten(texts.token_types)
    if vectors is not None:
        if types is not None:
            types = torch.cat([types.new_zeros(own.n * vectors.shape[1]), types])
        if at is None:
            at = torch.arange(taken, device=model.device).expand(len(vectors), -1)
        x = torch.cat([each_text(vectors, which, own.n), x])
        positions = torch.cat([each_text(at, which, own.n), positions])
    read = own.flatten(texts.where).nonzero()[:, 0] + (len(x) - int(own.lengths.sum()))
    unseen = None if texts.unseen is None else texts.unseen[:, : own.width]
    current = EncoderPass(rows, prefix, which, model.facts.bands.get("self", ()), unseen)
    with running(model.twin, current), read_only(model, read):
        arguments = {} if types is None else {"token_type_ids": types[None]}
        arguments |= model.told_positions(positions[None])
        out = model.twin.base_model(inputs_embeds=model.inputs(x)[None], **arguments)
    return model.unembed(out.last_hidden_state[0, read])
