"""Patchscopes: let the model itself describe what the residual stream of a prompt's tokens holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.inference import generate
from promptscope.models import Hook, HookedModel
from promptscope.probes import Saved
from promptscope.prompts import Prompt
from promptscope.readings.comparison import compare_with_nulls
from promptscope.readings.describe import DescribePrompt
from promptscope.readings.nulls import Nulls, Subject, subjects
from promptscope.readings.patched_text import patched_continuations
from promptscope.readings.provenance import provenance
from promptscope.readings.residual import Entry, check_layers, need_causal, prompt_residual
from promptscope.readings.scores import Score

if TYPE_CHECKING:
    import plotly.graph_objects as go

_LAYERS_BY_DEFAULT = 6


@dataclass(frozen=True, eq=False, repr=False)
class Patchscope(Saved):
    """Descriptions of a prompt and of its nulls, for pairs of source and target layers.

    - `data` (an `xarray.Dataset`): one variable for each score, with the dimensions `of` (the prompt and its nulls,
      with the coordinate `kind`), `source` and `target`; layer l is the residual stream after layer l, -1 what enters
      layer 0;
    - `texts`: one row for each description: `of`, `kind`, `source`, `target`, `text`;
    - `unpatched`: what the model writes after placeholders that nothing was written over, and `unpatched_scores` its
      scores. A description that scores no higher comes from the few-shot text, not from the prompt.

    >>> grid = xr.Dataset({"class_rate": (("of", "source", "target"), np.zeros((1, 2, 3)))})
    >>> Patchscope(grid, texts=pd.DataFrame(), unpatched="a").scores
    ('class_rate',)
    """

    data: xr.Dataset
    texts: pd.DataFrame
    unpatched: str
    unpatched_scores: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of the scores."""
        return tuple(map(str, self.data.data_vars))

    def against_null(self) -> pd.DataFrame:
        """Return each score's mean over layer pairs and its best value, each compared with the same of the nulls.

        The best of many pairs is high for a random prompt as well, so it is compared with the *best* of each null.
        `unpatched` is the score without any vectors written. There is no interval: the pairs of layers are not
        independent.
        """
        names = {f"{name}, {of}": (name, of) for name in self.scores for of in ("mean over the grid", "best cell")}
        rows = pd.DataFrame({"of": self.data["of"].values, "kind": self.data["kind"].values})
        for column, (name, of) in names.items():
            grid = self.data[name]
            rows[column] = (
                grid.mean(("source", "target")) if of != "best cell" else grid.max(("source", "target"))
            ).values
        table = compare_with_nulls(rows, dict.fromkeys(names, True))
        table["unpatched"] = [self.unpatched_scores[name] for name, _ in names.values()]
        return table

    def best(self, score: str) -> pd.Series:
        """Return the prompt's description with the highest *score* (the first of equal ones), with its layers.

        Raises:
            ProbeError: a score that was not computed.
        """
        if score not in self.scores:
            raise ProbeError(f"there is no score {score!r}, only {list(self.scores)}: pass scores= to read_patchscope")
        own = self.to_dataframe().query("kind == 'prompt'")
        return own.loc[own[score].idxmax()]

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row for each description, with its scores."""
        scores = self.data.drop_vars("kind").to_dataframe().reset_index() if self.scores else None
        return self.texts if scores is None else self.texts.merge(scores, on=["of", "source", "target"])

    def plot(self, score: str | None = None) -> go.Figure:
        """Draw a score by source and target layer: of the prompt, and the mean of each kind of null."""
        from promptscope.plots.patchscope import patchscope_figure

        return patchscope_figure(self, score)

    def __repr__(self) -> str:
        sizes = self.data.sizes
        own = self.texts[self.texts["kind"] == "prompt"]["text"].value_counts()
        lines = [f"Patchscope: {sizes['source']} source x {sizes['target']} target layers, {sizes['of']} prompts read"]
        lines += [f"  {count} x {text!r}" for text, count in own.head(3).items()]
        return "\n".join([*lines, f"  unpatched: {self.unpatched!r}"])


@checked()
def read_patchscope(
    model: HookedModel,
    prompt: Prompt,
    scores: Mapping[str, Score] | None = None,
    describe: DescribePrompt | None = None,
    source_layers: Sequence[int] | None = None,
    target_layers: Sequence[int] | None = None,
    positions: Sequence[int] | None = None,
    entry: Entry = "embeddings",
    max_new_tokens: int = 12,
    nulls: Nulls | None = None,
    batch_size: int = 32,
    hooks: Sequence[Hook] = (),
) -> Patchscope:
    """Write the residual stream of prompt tokens over placeholders in a few-shot text; the model describes them.

    For each source layer s and target layer t, the residual stream of the prompt's tokens after layer s replaces that
    of the placeholders after layer t. The model's greedy continuation, up to the end of the line, is the description.

    Args:
        model: a causal model with a tokenizer.
        prompt: an input-level prompt.
        scores: name -> function of a description that returns a number, such as `class_rate(words)` or
            `word_f1(reference)`.
        describe: the few-shot text; by default three demonstrations and `" x"` for each prompt token.
        source_layers, target_layers: from -1 (what enters layer 0) on; by default about six of each, in equal steps.
            The last layer cannot be a target: nothing reads the placeholders after it.
        positions: the prompt tokens that are read together; by default all. `[2]` reads token 2 alone. Token 0 is at
            the first position, which many models use as an attention sink: after the first layers its residual stream
            is large (SmolLM2-135M: a norm of 24,000, other tokens 200) and the same for every prompt, so that reading
            it alone tells nothing.
        entry: `"embeddings"`, as the prompt was trained; `"first_layer"` writes the prompt over the output of layer 0,
            as the code of InSPEcT does, and needs source layers from 0 on.
        max_new_tokens: longest description in tokens.
        nulls: see `ps.readings.Nulls`; by default 19 random prompts, each of which takes as long as the prompt.
        batch_size: descriptions written at once.
        hooks: attached during the call, in addition to those attached before; see `model.hooks`.

    Raises:
        ProbeError: a model that is not causal, a layer or position that does not exist, or a placeholder of several
            tokens.
        PromptError: a deep prompt, or few-shot text and description do not fit into the context.

    Reference: Ghandeharioun et al. 2024 (Patchscopes); Ramati, Gottesman & Geva 2025 (InSPEcT), who report the best
    pair of layers only.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> describe = DescribePrompt((("Seoul", "the capital of Korea"),), placeholder="a")
    >>> prompt = ps.SoftPrompt(length=2).bind(model)
    >>> reading = read_patchscope(model, prompt, describe=describe, nulls=Nulls(random=1), max_new_tokens=2)
    >>> reading.texts.columns.tolist()
    ['of', 'kind', 'source', 'target', 'text']
    """
    need_causal(model, "a Patchscopes reading")
    if max_new_tokens < 1:
        raise ProbeError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    last = model.shape.n_layers - 1
    sources = list(_evenly(0 if entry == "first_layer" else -1, last) if source_layers is None else source_layers)
    targets = list(_evenly(-1, last - 1) if target_layers is None else target_layers)
    check_layers(model, sources, last, "source layers")
    check_layers(model, targets, last - 1, "target layers")
    if entry == "first_layer" and -1 in sources:
        raise ProbeError(
            "with entry='first_layer' source layers must be 0 or more, got -1: the "
            "prompt is written at the output of layer 0"
        )
    with model.turn(hooks):
        read = subjects(model, prompt, nulls=nulls or Nulls())
        chosen = _chosen_positions(positions, prompt.length)
        head, tail = (describe or DescribePrompt()).encode(model, len(chosen))
        grid = [(s, t) for s in sources for t in targets]
        rows, vectors = [], []
        for subject in read:
            residual = prompt_residual(model, subject.prompt, entry=entry)[:, chosen]  # (layer, k, d), -1 first
            rows += [(subject.of, subject.kind, s, t) for s, t in grid]
            vectors += [residual[s + 1] for s, _ in grid]
        layers = torch.tensor([t for _, _, _, t in rows])
        ids = patched_continuations(model, head, tail, torch.stack(vectors), layers, max_new_tokens, batch_size)
        texts = pd.DataFrame(rows, columns=["of", "kind", "source", "target"])
        texts["text"] = [_first_line(model, row) for row in ids]
        bare = _unpatched(model, head, tail, max_new_tokens)
    scores = dict(scores or {})
    shape = (len(read), len(sources), len(targets))
    return Patchscope(
        data=_score(texts, scores, shape, read, sources, targets),
        texts=texts,
        unpatched=bare,
        unpatched_scores={name: score(bare) for name, score in scores.items()},
        provenance=provenance(model, prompt, read) | {"entry": entry, "positions": chosen},
    )


def _score(
    texts: pd.DataFrame,
    scores: Mapping[str, Score],
    shape: tuple[int, int, int],
    read: Sequence[Subject],
    sources: list[int],
    targets: list[int],
) -> xr.Dataset:
    values = {
        name: (
            ("of", "source", "target"),
            np.array([score(text) for text in texts["text"]], dtype=float).reshape(shape),
        )
        for name, score in scores.items()
    }
    of = {"of": [subject.of for subject in read], "kind": ("of", [subject.kind for subject in read])}
    return xr.Dataset(values, coords={**of, "source": sources, "target": targets})


def _evenly(first: int, last: int) -> list[int]:
    return sorted(set(np.linspace(first, last, min(_LAYERS_BY_DEFAULT, last - first + 1)).round().astype(int).tolist()))


def _chosen_positions(positions: Sequence[int] | None, k: int) -> list[int]:
    chosen = list(range(k)) if positions is None else list(positions)
    if not chosen or not all(0 <= position < k for position in chosen):
        raise ProbeError(f"positions must be one or more of 0..{k - 1}, got {chosen}")
    return chosen


def _unpatched(model: HookedModel, head: torch.Tensor, tail: torch.Tensor, max_new_tokens: int) -> str:
    return _first_line(model, generate(model, None, torch.cat([head, tail])[None], max_new_tokens=max_new_tokens)[0])


def _first_line(model: HookedModel, ids: list[int]) -> str:
    end = model.tokenizer.eos_token_id
    ids = ids[: ids.index(end)] if end in ids else ids
    return str(model.tokenizer.decode(ids)).partition("\n")[0].strip()
