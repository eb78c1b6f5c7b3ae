"""Packed passes behind prompts with cut tokens: their rows are left out, and everybody's position stays.

Nobody sees a cut token, so what its row computes is never read: the row need not run at all.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from promptscope.engine import Shared
from promptscope.engine.attention import running
from promptscope.engine.both_ways import behind_prompts, embedded
from promptscope.engine.causal import CausalPass, computed
from promptscope.engine.encoder import EncoderPass, unseen_rows
from promptscope.engine.rows import Rows
from promptscope.models import HookedModel, Prefix
from promptscope.prompts import Prompt


@dataclass(frozen=True)
class SpacedPrefix(Prefix):
    """Keys and values of some of k positions: `gaps` others are taken too, and nobody sees them."""

    gaps: int = 0

    @property
    def length(self) -> int:
        """Number of positions taken: what comes behind stands at this one."""
        return self.keys[0].shape[2] + self.gaps


def spaced(prefix: Prefix, gaps: int) -> SpacedPrefix:
    """Return *prefix* with *gaps* more positions taken."""
    return SpacedPrefix(prefix.keys, prefix.values, prefix.layers, gaps)


def share_cut(model: HookedModel, prompt: Prompt, kept: Int[Tensor, "G s"], template: list[int]) -> Shared:
    """Compute once what stands in front of texts behind G variants of *prompt*, of which s tokens each are *kept*.

    Behind each stand the *template* tokens with which all texts begin. Causal models.
    """
    gaps = prompt.length - kept.shape[1]
    prefix = _chosen(prompt.prefixes(model)["self"], kept) if prompt.rows(model) is None else _run(model, prompt, kept)
    shared = Shared(len(kept), spaced(prefix, gaps))
    if not template:
        return shared
    rows = model.embed(torch.tensor([template])).expand(len(kept), -1, -1)
    whole = computed(model, Shared(len(kept), shared.prefix, rows, len(template)))
    assert whole.prefix is not None
    return Shared(len(kept), spaced(whole.prefix, gaps), None, len(template))


def pick_cut(shared: Shared, chosen: list[int]) -> Shared:
    """Return what stands in front of the texts of some of the variants."""
    picked = shared.pick(chosen)
    assert isinstance(shared.prefix, SpacedPrefix) and picked.prefix is not None
    return Shared(len(chosen), spaced(picked.prefix, shared.prefix.gaps), None, shared.n_template)


def cut_encoder_logits(
    model: HookedModel,
    prompt: Prompt,
    kept: Int[Tensor, "G s"],
    which: Int[Tensor, "R"],
    where: Bool[Tensor, "R n"],
    ids: Int[Tensor, "R n"],
    mask: Bool[Tensor, "R n"],
    unseen: Bool[Tensor, "R n"] | None = None,
) -> Float[Tensor, "rows V"]:
    """Return the logits of a masked language model at *where*; text r stands behind variant `which[r]` of *prompt*.

    Nothing attends to the tokens marked in *unseen*.
    """
    texts = Rows.of(mask)
    model.check_context(texts.width, prompt.length)
    x, positions = model.embed(texts.flatten(ids)), prompt.length + texts.positions
    vectors, prefix = prompt.rows(model), None
    if vectors is None:
        rows, prefix = texts, _chosen(prompt.prefixes(model)["self"], kept)
    else:
        mine = vectors.to(model.dtype)[kept]  # (G, s, d)
        rows = behind_prompts(mine, which, texts)
        x, positions = embedded(mine, which, x, texts.n), torch.cat([kept[which].flatten(), positions])
    with running(model.twin, EncoderPass(rows, prefix, which, unseen_rows(unseen, texts, rows))):
        out = model.twin.base_model(inputs_embeds=x[None], position_ids=positions[None])
    hidden = out.last_hidden_state[0]
    read = texts.flatten(where).nonzero()[:, 0] + (len(hidden) - int(texts.lengths.sum()))
    return model.twin.get_submodule("cls")(hidden[read])


def _chosen(prefix: Prefix, kept: Int[Tensor, "G s"]) -> Prefix:
    """Take the keys and values of the kept tokens of each variant."""
    keys, values = (tuple(x[0][:, kept].transpose(0, 1) for x in part) for part in (prefix.keys, prefix.values))
    return Prefix(keys, values, prefix.layers)


def _run(model: HookedModel, prompt: Prompt, kept: Int[Tensor, "G s"]) -> Prefix:
    """Run the kept rows of every variant at their own positions, and keep their keys and values."""
    vectors = prompt.rows(model)
    assert vectors is not None
    every, heads = range(model.shape.n_layers), (model.shape.n_kv_heads, model.shape.d_head)
    if not kept.shape[1]:
        none = vectors.new_zeros(len(kept), heads[0], 0, heads[1], dtype=model.dtype)
        return Prefix((none,) * len(every), (none,) * len(every), frozenset(every))
    nothing = torch.zeros(0, 0, dtype=torch.bool, device=model.device)
    rows = Shared(len(kept), None, vectors.to(model.dtype)[kept])
    current = CausalPass(rows, Rows.of(nothing), None, keep=True)
    assert rows.rows is not None
    with running(model.twin, current):
        model.twin.base_model(
            inputs_embeds=rows.rows.flatten(0, 1)[None], position_ids=kept.flatten()[None], use_cache=False
        )
    found = [current.kept[layer] for layer in every]
    keys, values = (tuple(_heads_first(layer[i]) for layer in found) for i in (0, 1))
    return Prefix(keys, values, frozenset(every))


def _heads_first(x: Tensor | None) -> Float[Tensor, "G kv_head s d_head"]:
    assert x is not None
    return x.transpose(1, 2)
