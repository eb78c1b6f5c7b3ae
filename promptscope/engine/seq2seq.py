"""Encoder-decoders with relative positions (T5): both stacks without padding."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from promptscope.engine.attention import How, running
from promptscope.engine.both_ways import attend_all, behind_prompts, each_text
from promptscope.engine.causal import in_front
from promptscope.engine.rows import Rows
from promptscope.engine.shared import stacked
from promptscope.engine.texts import Texts
from promptscope.models import HookedModel, Placement, Prefix
from promptscope.models.placement_prefix import written


@dataclass
class Seq2SeqPass:
    """Flat rows of R sources and R targets; which attention a module is, `parts` says."""

    sources: Rows
    targets: Rows
    prefixes: dict[str, Prefix]
    which: Int[Tensor, "R"] | None
    parts: dict[nn.Module, str]
    biases: dict[tuple[str, bool], Tensor] = field(default_factory=dict)

    def attend(self, module: Any, query: Tensor, key: Tensor, value: Tensor, how: How) -> Tensor:
        """Let encoders see all of their source, decoders their past, and cross-attention all of the source."""
        part = self.parts[module]
        queries = self.sources if part == "encoder" else self.targets
        keys = self.targets if part == "decoder" else self.sources
        front = in_front(self.prefixes.get(part), module.layer_idx)
        bias = None if part == "cross" else self._bias(part, front[0] is not None, cast(Tensor, how.bias))
        return attend_all(query, key, value, queries, keys, front, self.which, replace(how, bias=bias))

    def _bias(self, part: str, whole: bool, bias: Tensor) -> Tensor:
        """Cut the bias for layers that do not see the prefix; hide the future from decoders. Once for all layers."""
        if (part, whole) not in self.biases:
            n = bias.shape[-2]
            cut = bias if whole else bias[..., bias.shape[-1] - n :]
            if part == "decoder":
                past = torch.ones(cut.shape[-2:], dtype=torch.bool, device=cut.device).tril(cut.shape[-1] - n)
                cut = cut.masked_fill(~past, torch.finfo(cut.dtype).min)
            self.biases[part, whole] = cut
        return self.biases[part, whole]


@dataclass(frozen=True)
class Sources:
    """R texts that an encoder has read: the hidden states of their rows, and what decoders see in front of them."""

    hidden: Float[Tensor, "T d_model"]
    rows: Rows
    prefixes: dict[str, Prefix]
    which: Int[Tensor, "R"] | None
    parts: dict[nn.Module, str]


def read_sources(
    model: HookedModel,
    ids: Int[Tensor, "R n"],
    mask: Bool[Tensor, "R n"],
    placements: Sequence[Placement],
    which: Int[Tensor, "R"] | None = None,
) -> Sources:
    """Run the encoder on right-padded texts behind *placements*."""
    which = which if len(placements) > 1 else None
    twin: Any = model.twin
    vectors, _ = stacked(model, placements)
    found = {part: written(model, placements, part) for part in model.family.attentions}
    prefixes = {part: prefix for part, prefix in found.items() if prefix is not None}
    texts = Rows.of(mask)
    rows = behind_prompts(vectors, texts)
    x = model.embed(texts.flatten(ids))
    if vectors is not None:
        x = torch.cat([each_text(vectors, which, texts.n), x])
    parts = attention_parts(twin)
    current = Seq2SeqPass(rows, rows, prefixes, which, parts)
    p = prefixes["encoder"].length if "encoder" in prefixes else 0
    with running(twin, current), relative_bias(parts, {"encoder": (p, rows.width)}):
        hidden = twin.encoder(inputs_embeds=x[None]).last_hidden_state[0]
    return Sources(hidden, rows, prefixes, which, parts)


def seq2seq_logits(
    model: HookedModel, texts: Texts, placements: Sequence[Placement], which: Int[Tensor, "R"] | None = None
) -> Float[Tensor, "rows V"]:
    """Return the logits of an encoder-decoder at the wanted target positions, text by text."""
    assert texts.decoder_ids is not None
    sources = read_sources(model, texts.ids, texts.mask.bool(), placements, which)
    where = texts.where
    steps = torch.arange(where.shape[1], device=where.device)
    needed = (where * (steps + 1)).amax(dim=1, keepdim=True)  # nobody reads what the decoder says after that
    targets = Rows.of(steps < needed)
    current = Seq2SeqPass(sources.rows, targets, sources.prefixes, sources.which, sources.parts)
    p = sources.prefixes["decoder"].length if "decoder" in sources.prefixes else 0
    with running(model.twin, current), relative_bias(sources.parts, {"decoder": (p, targets.width)}):
        logits = run_decoder(model, sources.hidden, model.embed(targets.flatten(texts.decoder_ids)))
    return logits[targets.flatten(where)]


def run_decoder(
    model: HookedModel, hidden: Float[Tensor, "T d_model"], targets: Float[Tensor, "M d_model"]
) -> Float[Tensor, "M V"]:
    """Run the decoder on flat rows; attention is what is `running`."""
    encoded = BaseModelOutput(last_hidden_state=hidden[None])
    out = cast(Any, model.twin)(encoder_outputs=encoded, decoder_inputs_embeds=targets[None], use_cache=False)
    return out.logits[0]


def attention_parts(twin: Any) -> dict[nn.Module, str]:
    """Say of every attention module of a T5 whether it is the `encoder`'s, the `decoder`'s own, or `cross`."""
    parts: dict[nn.Module, str] = {block.layer[0].SelfAttention: "encoder" for block in twin.encoder.block}
    for block in twin.decoder.block:
        parts |= {block.layer[0].SelfAttention: "decoder", block.layer[1].EncDecAttention: "cross"}
    return parts


def relative_bias(parts: dict[nn.Module, str], spans: dict[str, tuple[int, int]]) -> AbstractContextManager[None]:
    """Let position biases be those of one sequence, not of the whole flat list.

    *spans*: part -> (position of the first query, number of queries).
    """
    first: list[Any] = [m for m, part in parts.items() if part in spans and cast(Any, m).has_relative_attention_bias]
    return with_biases({module: _bias_of(module, *spans[parts[module]]) for module in first})


@contextmanager
def with_biases(functions: dict[nn.Module, Any]) -> Iterator[None]:
    """Let attention modules compute their position bias in another way."""
    before = {module: vars(module).get("compute_bias") for module in functions}
    for module, function in functions.items():
        module.__dict__["compute_bias"] = function
    try:
        yield
    finally:
        for module, function in before.items():
            if function is None:
                del module.__dict__["compute_bias"]
            else:  # the blocks may be nested
                module.__dict__["compute_bias"] = function


def biases_in_force(layer: nn.Module) -> dict[nn.Module, Any]:
    """Return what `with_biases` has changed inside *layer*."""
    return {module: vars(module)["compute_bias"] for module in layer.modules() if "compute_bias" in vars(module)}


def _bias_of(module: Any, first: int, n: int) -> Any:
    compute = module.compute_bias  # the class's own: it is looked up before the instance gets its replacement

    def compute_bias(query_length: int, key_length: int, device: Any = None, past_seen_tokens: int = 0) -> Tensor:
        return compute(first + n, first + n, device=device)[:, :, first:]  # (1, head, n, first + n)

    return compute_bias
