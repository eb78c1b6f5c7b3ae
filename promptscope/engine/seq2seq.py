"""Packed passes of encoder-decoders: encoder and decoder without padding."""

import copy
import inspect
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from promptscope.engine.attention import How, running
from promptscope.engine.both_ways import attend_all, behind_prompts, each_text
from promptscope.engine.causal import in_front
from promptscope.engine.rows import Rows
from promptscope.engine.shared import stacked
from promptscope.engine.texts import Texts
from promptscope.models import HookedModel, Placement, Prefix
from promptscope.models.facts import Band, Facts
from promptscope.models.placement_prefix import written
from promptscope.undo import replaced


@dataclass
class Seq2SeqPass:
    """A pass over flat rows of R sources and R targets; `facts.parts` gives the attention and layer of each module."""

    sources: Rows
    targets: Rows
    prefixes: dict[str, Prefix]
    which: Int[Tensor, "R"] | None
    facts: Facts

    def attend(self, module: Any, query: Tensor, key: Tensor, value: Tensor, how: How) -> Tensor:
        """Attend from sources and cross-attention to the whole source, from targets to earlier target tokens."""
        part, layer = self.facts.parts[module]
        queries = self.sources if part == "encoder" else self.targets
        keys = self.targets if part == "decoder" else self.sources
        front = in_front(self.prefixes.get(part), layer)
        bias = None if part == "cross" else how.bias
        if bias is not None and front is None:  # it may be made for a prefix that other layers attend to
            bias = bias[..., -bias.shape[-2] :]
        how, band = replace(how, bias=bias), band_of(self.facts, part, layer)
        return attend_all(query, key, value, queries, keys, front, self.which, how, band)


def band_of(facts: Facts, part: str, layer: int) -> Band | None:
    """Return how far queries of a layer attend back and ahead; decoder self-attention is causal."""
    band = facts.bands[part][layer] if part in facts.bands else None
    return (None, 0) if band is None and part == "decoder" else band


@dataclass(frozen=True)
class Sources:
    """R encoded texts: the encoder's output over their flat rows, and the prompt's prefix in cross-attention."""

    output: Any
    rows: Rows
    prefixes: dict[str, Prefix]
    which: Int[Tensor, "R"] | None


def read_sources(
    model: HookedModel,
    ids: Int[Tensor, "R n"],
    mask: Bool[Tensor, "R n"],
    placements: Sequence[Placement],
    which: Int[Tensor, "R"] | None = None,
) -> Sources:
    """Run the encoder on right-padded texts with the prompts *placements* before them."""
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
    current = Seq2SeqPass(rows, rows, prefixes, which, model.facts)
    p = prefixes["encoder"].length if "encoder" in prefixes else 0
    encoder = twin.get_encoder()
    told, patched = told_positions(encoder, p + rows.positions)
    with running(twin, current), relative_bias(model.facts, {"encoder": (p, rows.width)}), patched:
        output = encoder(inputs_embeds=model.inputs(x)[None], **told)
    return Sources(output, rows, prefixes, which)


def seq2seq_logits(
    model: HookedModel, texts: Texts, placements: Sequence[Placement], which: Int[Tensor, "R"] | None = None
) -> Float[Tensor, "rows V"]:
    """Return the logits of an encoder-decoder at the target positions `texts.where`, text by text."""
    assert texts.decoder_ids is not None
    sources = read_sources(model, texts.ids, texts.mask.bool(), placements, which)
    where = texts.where
    steps = torch.arange(where.shape[1], device=where.device)
    needed = (where * (steps + 1)).amax(dim=1, keepdim=True)  # nobody reads what the decoder says after that
    targets = Rows.of(steps < needed)
    current = Seq2SeqPass(sources.rows, targets, sources.prefixes, sources.which, model.facts)
    p = sources.prefixes["decoder"].length if "decoder" in sources.prefixes else 0
    x = model.embed_targets(targets.flatten(texts.decoder_ids))
    with running(model.twin, current), relative_bias(model.facts, {"decoder": (p, targets.width)}):
        logits = run_decoder(model, sources, x, p + targets.positions)
    return logits[targets.flatten(where)]


def run_decoder(
    model: HookedModel,
    sources: Sources,
    targets: Float[Tensor, "M d_embed"],
    positions: Int[Tensor, "M"],
    n_rows: int | None = None,
) -> Float[Tensor, "M V"]:
    """Run the decoder on flat rows at *positions*, with the attention of the pass that is `running`.

    *n_rows* is the number of rows of the encoder's output to pass on, by default all; one is enough if the keys and
    values of cross-attention were computed before.
    """
    encoded = copy.copy(sources.output)  # of the class's own type: some have more fields than the hidden state
    encoded["last_hidden_state"] = sources.output.last_hidden_state[:, :n_rows]
    twin: Any = model.twin
    told, patched = told_positions(twin.get_decoder(), positions)
    told = {f"decoder_{name}": value for name, value in told.items()}
    with patched:
        return twin(encoder_outputs=encoded, decoder_inputs_embeds=targets[None], use_cache=False, **told).logits[0]


def told_positions(stack: Any, positions: Int[Tensor, "T"]) -> tuple[dict[str, Tensor], AbstractContextManager[None]]:
    """Return how encoder or decoder get the positions of their rows: as an argument, or by a patch while they run.

    Where the model adds position embeddings and counts positions itself, its embedding module is patched to return the
    rows at *positions*. Relative positions need neither (see `relative_bias`).
    """
    if "position_ids" in inspect.signature(stack.forward).parameters and hasattr(stack, "rotary_emb"):
        return {"position_ids": positions[None]}, nullcontext()
    table = getattr(stack, "embed_positions", None)
    return {}, nullcontext() if table is None else _rows_at(table, positions)


@contextmanager
def _rows_at(table: nn.Module, positions: Int[Tensor, "T"]) -> Iterator[None]:
    """Let a module of position embeddings return its rows at *positions*, whatever its arguments."""
    n, t = int(positions.max()) + 1, len(positions)

    def shortened(x: Any) -> Any:
        """Return an argument made for t tokens as one for n tokens at positions 0 to n - 1."""
        if isinstance(x, tuple):  # a shape
            return (1, n, *x[2:])
        if not isinstance(x, Tensor) or x.ndim < 2 or x.shape[1] != t:
            return x
        return x.new_ones(1, n, *x.shape[2:])

    def forward(*args: Any, **kwargs: Any) -> Tensor:
        if isinstance(told := kwargs.get("position_ids"), Tensor):
            kwargs["position_ids"] = positions.view(told.shape)
            return type(table).forward(table, *args, **kwargs)
        args, kwargs = tuple(map(shortened, args)), {name: shortened(x) for name, x in kwargs.items()}
        return type(table).forward(table, *args, **kwargs)[..., positions, :]

    with replaced((vars(table), "forward", forward)):
        yield


def relative_bias(facts: Facts, spans: dict[str, tuple[int, int]]) -> AbstractContextManager[None]:
    """Let relative position biases be computed for one sequence instead of the whole flat list, in a `with` block.

    *spans* maps an attention to (position of the first query, number of queries).
    """
    spanned = [(module, spans[part]) for module, (part, _) in facts.parts.items() if part in spans]
    first = [(module, span) for module, span in spanned if getattr(module, "has_relative_attention_bias", False)]
    return with_biases({module: _bias_of(module, *span) for module, span in first})


@contextmanager
def with_biases(functions: dict[nn.Module, Any]) -> Iterator[None]:
    """Replace `compute_bias` (the relative position bias) of attention modules within a `with` block."""
    with replaced(*((vars(module), "compute_bias", function) for module, function in functions.items())):
        yield


def biases_in_force(layer: nn.Module) -> dict[nn.Module, Any]:
    """Return the replaced `compute_bias` functions of the attention modules in *layer*."""
    return {module: vars(module)["compute_bias"] for module in layer.modules() if "compute_bias" in vars(module)}


def _bias_of(module: Any, first: int, n: int) -> Any:
    compute = module.compute_bias  # the class's own: it is looked up before the instance gets its replacement

    def compute_bias(query_length: int, key_length: int, device: Any = None, past_seen_tokens: int = 0) -> Tensor:
        return compute(first + n, first + n, device=device)[:, :, first:]  # (1, head, n, first + n)

    return compute_bias
