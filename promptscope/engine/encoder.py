"""Masked language models: prompt rows and real tokens of every text, without padding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from promptscope.engine.attention import running
from promptscope.engine.both_ways import attend_all, behind_prompts, embedded
from promptscope.engine.causal import in_front
from promptscope.engine.last_layer import read_only
from promptscope.engine.rows import Rows
from promptscope.engine.shared import stack_prefixes, stack_rows
from promptscope.models import HookedModel, Prefix
from promptscope.prompts import Prompt


@dataclass
class EncoderPass:
    """Flat rows of R texts, each with its prompt's rows if that has some; deep prompts are a prefix."""

    rows: Rows
    prefix: Prefix | None
    which: Int[Tensor, "R"] | None
    unseen: Bool[Tensor, "R width"] | None = None
    """Of each text with its prompt rows: what nothing attends to."""

    def attend(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, scale: float | None, bias: Tensor | None
    ) -> Tensor:
        """Let every row see all of its own text and what is in front of it."""
        front = in_front(self.prefix, module.layer_idx)
        return attend_all(query, key, value, self.rows, self.rows, front, self.which, scale, unseen=self.unseen)


def unseen_rows(unseen: Bool[Tensor, "R n"] | None, texts: Rows, rows: Rows) -> Bool[Tensor, "R width"] | None:
    """Move what is marked in *texts* to where it stands among *rows*, behind the prompts."""
    return None if unseen is None else pad(unseen[:, : texts.width], (rows.width - texts.width, 0), value=False)


def encoder_logits(
    model: HookedModel,
    prompts: Sequence[Prompt],
    where: Bool[Tensor, "R n"],
    ids: Int[Tensor, "R n"],
    mask: Bool[Tensor, "R n"],
    which: Int[Tensor, "R"] | None = None,
    unseen: Bool[Tensor, "R n"] | None = None,
) -> Float[Tensor, "rows V"]:
    """Return the logits of a masked language model at the positions marked in *where*, text by text.

    Nothing attends to the tokens marked in *unseen*.
    """
    which = which if len(prompts) > 1 else None
    vectors, prefix = stack_rows(model, prompts), stack_prefixes(model, prompts, "self")
    texts = Rows.of(mask)
    rows = behind_prompts(vectors, which, texts)
    p = prefix.length if prefix is not None else 0
    model.check_context(rows.width, p)
    x = embedded(vectors, which, model.embed(texts.flatten(ids)), texts.n)
    read = texts.flatten(where).nonzero()[:, 0] + (len(x) - int(texts.lengths.sum()))
    current = EncoderPass(rows, prefix, which, unseen_rows(unseen, texts, rows))
    with running(model.twin, current), read_only(model, read):
        out = model.twin.base_model(inputs_embeds=x[None], position_ids=(p + rows.positions)[None])
    return model.twin.get_submodule("cls")(out.last_hidden_state[0, read])
