"""Label-space cosine: how close the residual stream is to the gold label word, compared with another label word."""

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.models import HookedModel
from promptscope.probes.base import Probe
from promptscope.probes.entries import Entries, Shard
from promptscope.probes.label_words import LabelWords, label_words, unembedding_directions
from promptscope.probes.residual import ResidualAt
from promptscope.probes.result import ProbeResult
from promptscope.prompts import Prompt
from promptscope.statistics import gold_and_other, label_cosines, mean_interval
from promptscope.store import Capture, View
from promptscope.tasks import Encoded, Task

WORDS = ("gold", "non-gold")


@dataclass(frozen=True)
class UnembeddingCosines(Capture):
    """Cosines of the residual stream at the predicting position with rows of W_U, plain and centred: (B, 2, C).

    >>> UnembeddingCosines(tokens=(17, 42)).spec()["tokens"]
    (17, 42)
    """

    site: str = "hook_resid_post"
    tokens: tuple[int, ...] = ()
    directions: Tensor | None = field(default=None, compare=False, repr=False)

    def reduce(self, x: Float[Tensor, "B T d_model"], layer: int, view: View) -> Float[Tensor, "B 2 C"]:
        """Two small matrix products at one position."""
        assert self.directions is not None
        state = torch.nn.functional.normalize(view.at(x, view.answer).float(), dim=-1)
        return torch.einsum("bd,scd->bsc", state, self.directions.to(x.device))

    def spec(self) -> dict[str, Any]:
        """Return the tokens; their vectors belong to the model."""
        return {"capture": type(self).__name__, "version": self.version, "site": self.site, "tokens": self.tokens}


class LabelCosine(Probe):
    """Cosine of the residual stream with the gold label word and with another label word, in each layer.

    `c_w = cos(h_l, v_w)`, where h_l (d_model) is the residual stream after layer l at the position that predicts the
    label (the last source token; a masked model's `{mask}`; a decoder's first position), and v_w (d_model) a vector of
    the first token of label word w. The paper does not say which vectors "label words" have; both readings are given:

    - `reference="unembedding"` (default): v_w is the token's row of W_U, the same in all layers; the final norm and
      biases are left out;
    - `reference="residual"` (causal models only): v_w is the residual stream after layer l at the word itself, in the
      input `{prompt, last token of the input, word}`.

    It is in [-1, 1]; higher = closer to the word. The `gap` in `result.data`, gold minus non-gold with its interval
    `gap_low`, `gap_high`, is above 0 where the layer favours the right label. Dimensions: prompt, word (`gold`,
    `non-gold`), layer; without prompts: word, layer.

    Args:
        non_gold: `"drawn"` takes one of the other words at random for each input, by *seed* and the input's id, as the
            paper does; `"mean"` averages over all of them.
        centred: subtract from v_w the mean row of W_U, or, for `"residual"`, the mean over label words. It removes the
            component that all words share, which dominates where vectors are anisotropic.

    Raises:
        ProbeError: no task, a generation task, a single label, label words that begin with the same token, a model
            whose rows of W_U are shorter than its residual stream (OPT-350M, ELECTRA, ALBERT), or `"residual"` on a
            model that is not causal.

    Reference: *Toward the explainable soft prompts*, section 4.4 and Figure 8.

    >>> LabelCosine().name, LabelCosine("residual", centred=True).name
    ('label_cosine', 'label_cosine_residual_centred')
    """

    @checked(seed=0)
    def __init__(
        self,
        reference: Literal["unembedding", "residual"] = "unembedding",
        non_gold: Literal["drawn", "mean"] = "drawn",
        centred: bool = False,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        if reference not in ("unembedding", "residual"):
            raise ProbeError(f"reference must be 'unembedding' or 'residual', got {reference!r}")
        if non_gold not in ("drawn", "mean"):
            raise ProbeError(f"non_gold must be 'drawn' or 'mean', got {non_gold!r}")
        self.reference = reference
        self.non_gold = non_gold
        self.centred = centred
        self.seed = seed
        marks = ((reference, "unembedding"), (non_gold, "drawn"), ("centred" if centred else "", ""))
        self.name = name or "_".join(["label_cosine", *(mark for mark, usual in marks if mark != usual)])
        self.title = "Cosine with label words" + (", centred" if centred else "")
        self._words: LabelWords | None = None
        self._directions: Tensor | None = None
        self._kind = "causal"

    def ready(self, model: HookedModel, task: Task | None, prompts: Mapping[str, Prompt]) -> Probe:
        """Look up the label words; run without a prompt if none is given."""
        made = copy.copy(self)
        made._kind = model.family.kind
        if self.reference == "residual" and made._kind != "causal":
            raise ProbeError(
                "reference='residual' needs a causal model, because it runs label words after the "
                f"prompt, and {model.name!r} is {made._kind}: use reference='unembedding'"
            )
        made._words = label_words(model, task, "the label-space cosine")
        if self.reference == "unembedding":
            made._directions = unembedding_directions(model, made._words)
        made.conditions = "prompted" if prompts else "plain"
        return made

    def captures(self) -> dict[str, Capture]:
        """Keep a few cosines, or the residual stream at one position."""
        if self.reference == "residual":
            return {"state": ResidualAt()}
        assert self._words is not None
        site = "decoder_blocks.{i}.hook_resid_post" if self._kind == "seq2seq" else "hook_resid_post"
        return {"state": UnembeddingCosines(site, self._words.tokens, self._directions)}

    def extra_inputs(self, examples: Sequence[Encoded]) -> Sequence[Encoded]:
        """Feed the label words themselves, for the residual reference."""
        assert self._words is not None
        return self._words.inputs(examples) if self.reference == "residual" else ()

    def compute(self, entries: Entries) -> ProbeResult:
        """Select the gold and a non-gold word of each input."""
        assert self._words is not None and entries.task is not None
        ids = [example.id for example in entries.examples]
        records = entries.task.split(entries.provenance["inputs"]["split"])
        labels = {record.id: record.label for record in records}
        gold = np.array([self._words.labels.index(str(labels[id])) for id in ids])
        drawn = np.array([self._draw(id, int(index)) for id, index in zip(ids, gold, strict=True)])
        chosen = drawn if self.non_gold == "drawn" else None
        numbers: dict[str, np.ndarray] | np.ndarray
        if entries.prompts:
            numbers = {
                prompt: gold_and_other(self._cosines(entries, prompt), gold, chosen) for prompt in entries.prompts
            }
        else:
            numbers = gold_and_other(self._cosines(entries, None), gold, chosen)
        result = entries.result(
            numbers,
            dims=("word", "layer"),
            coords={"word": list(WORDS), "example": ids},
            units="cosine",
            direction="higher = closer to the word; gold above non-gold = the layer favours the right label",
            range=(-1.0, 1.0),
            provenance=entries.provenance | {"labels": dict(zip(self._words.labels, self._words.tokens, strict=True))},
        )
        _add_gap(result, numbers)
        return result

    def _draw(self, id: str, gold: int) -> int:
        """Draw a label other than *gold*; for one input always the same, whichever other inputs there are."""
        assert self._words is not None
        other = random.Random(f"{self.seed} {id}").randrange(len(self._words.labels) - 1)
        return other + (other >= gold)

    def _cosines(self, entries: Entries, prompt: str | None) -> Float[np.ndarray, "X L C"]:
        if self.reference == "unembedding":
            kept = [part["values"][:, :, int(self.centred)] for part in _states(entries, prompt)]
            return np.clip(np.concatenate(kept).astype(np.float64), -1.0, 1.0)
        assert entries.extra is not None
        words = np.concatenate([part["values"] for part in _states(entries.extra, prompt)])
        cosines = [label_cosines(part["values"], words, self.centred) for part in _states(entries, prompt)]
        return np.clip(np.concatenate(cosines), -1.0, 1.0)


def _states(entries: Entries, prompt: str | None) -> Iterator[Shard]:
    return entries.plain("state") if prompt is None else entries.prompted("state", prompt)


def _add_gap(result: ProbeResult, numbers: Mapping[str, np.ndarray] | np.ndarray) -> None:
    """Add gold minus non-gold with its own interval; drop the mean over the two words, which means nothing."""
    for name in ("curve", "curve_low", "curve_high"):
        del result.data[name]
    arrays = list(numbers.values()) if isinstance(numbers, Mapping) else [numbers]
    gaps = np.stack([array[:, 0] - array[:, 1] for array in arrays], axis=1)  # (X, prompt, layer)
    dims: tuple[str, ...] = ("prompt", "layer")
    if not isinstance(numbers, Mapping):
        gaps, dims = gaps[:, 0], ("layer",)
    for name, array in zip(("gap", "gap_low", "gap_high"), (gaps.mean(axis=0), *mean_interval(gaps)), strict=True):
        result.data[name] = (dims, array)
