"""The logit lens: what the model would predict from the residual stream at a prompt position, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import log_softmax

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.models import Hook, HookedModel
from promptscope.probes import Saved
from promptscope.prompts import Prompt
from promptscope.readings.comparison import compare_with_nulls
from promptscope.readings.nulls import Nulls, Subject, subjects
from promptscope.readings.provenance import provenance
from promptscope.readings.residual import need_causal, prompt_residual
from promptscope.readings.vocabulary import label_token_ids, token_names

if TYPE_CHECKING:
    import plotly.graph_objects as go

UNITS = {"entropy": "nats", "kl_to_last": "nats", "label_mass": "probability"}
"""The quantities of a logit lens and their units."""

_HIGHER_IS_MORE = {"entropy": False, "kl_to_last": False, "label_mass": True}


@dataclass(frozen=True, eq=False, repr=False)
class LogitLens(Saved):
    """Next-token distributions read from the residual stream at a prompt's positions, layer by layer.

    `q = softmax(W_U norm(h))`, where h (d_model) is the residual stream, norm the model's final norm and W_U (V,
    d_model) the unembedding. `data` (an `xarray.Dataset`) has the dimensions `of` (the prompt and its nulls, with the
    coordinate `kind`), `layer` (-1 = what enters layer 0, otherwise after that layer) and `position`:

    - `entropy` of q in nats, in [0, ln V]; lower = more certain;
    - `kl_to_last`: `KL(q || q_last)` in nats, >= 0, where q_last is read after the last layer; 0 = the same prediction;
    - `label_mass`: summed probability of the label words' tokens, in [0, 1]; only if label words were given.

    `top` is a table of the most likely tokens: `of`, `kind`, `layer`, `position`, `rank`, `token`, `token_id`,
    `probability`.

    If the model does not tie its input and output embeddings (`provenance["tied_embeddings"]`), the tokens read in
    early layers mean little.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> lens = ps.readings.read_logit_lens(model, ps.SoftPrompt(length=2).bind(model), nulls=Nulls(random=1))
    >>> isinstance(lens, LogitLens), lens.quantities
    (True, ('entropy', 'kl_to_last'))
    """

    data: xr.Dataset
    top: pd.DataFrame
    label_words: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def quantities(self) -> tuple[str, ...]:
        """Names of the quantities in `data`."""
        return tuple(map(str, self.data.data_vars))

    def against_null(self) -> pd.DataFrame:
        """Return each quantity's mean over positions, by layer, compared with the nulls.

        Columns are those of `compare_with_nulls`. p-values are one-sided: lower entropy, lower KL, higher probability
        of the labels than random prompts. They are not corrected for the number of layers.
        """
        directions = {name: _HIGHER_IS_MORE[name] for name in self.quantities}
        table = self.to_dataframe()
        parts = [
            compare_with_nulls(rows, directions).assign(layer=layer)
            for layer, rows in table.groupby("layer", sort=True)
        ]
        both = pd.concat(parts, ignore_index=True)
        return both[["layer", *(name for name in both.columns if name != "layer")]]

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row for each prompt that was read, layer and position."""
        return self.data.to_dataframe().reset_index()

    def plot(self, quantity: str = "entropy") -> go.Figure:
        """Draw a quantity by layer, as a mean over positions, with the nulls.

        Raises:
            ProbeError: a quantity that was not read.
        """
        from promptscope.plots.logit_lens import logit_lens_figure

        return logit_lens_figure(self, quantity)

    def plot_tokens(self) -> go.Figure:
        """Draw layers by positions, with the most likely token in each cell."""
        from promptscope.plots.lens_tokens import lens_tokens_figure

        return lens_tokens_figure(self)

    def __repr__(self) -> str:
        own = self.top[(self.top["kind"] == "prompt") & (self.top["rank"] == 1)]
        last = own[own["layer"] == own["layer"].max()].sort_values("position")
        sizes = self.data.sizes
        tokens = ", ".join(map(repr, last["token"]))
        return f"LogitLens: {sizes['layer']} layers, {sizes['position']} positions\n  after the last layer: {tokens}"


@checked(n=1)
@torch.no_grad()
def read_logit_lens(
    model: HookedModel,
    prompt: Prompt,
    n: int = 5,
    label_words: Sequence[str] = (),
    nulls: Nulls | None = None,
    layers: Sequence[int] | None = None,
    hooks: Sequence[Hook] = (),
) -> LogitLens:
    """Decode the residual stream at the prompt's positions after every layer, by the final norm and the unembedding.

    After the last layer, this is the model's own prediction at that position. No text is needed: in a causal model a
    prompt position attends to the prompt only. The positions of random prompts decode to words as well: look at
    `against_null()` before you interpret them.

    Args:
        model: a causal model.
        prompt: an input-level prompt.
        n: how many of the most likely tokens are kept for each layer and position.
        label_words: words of the task's classes, whose probability is measured.
        nulls: random and other prompts that are read for comparison, see `ps.readings.Nulls`.
        layers: the layers after which to read; -1 = the embeddings. All by default.
        hooks: attached during the call, in addition to those attached before; see `model.hooks`. Hooks at the final
            norm and the unembedding act on the reading of every layer.

    Raises:
        ProbeError: a model that is not causal or has no final norm, a label word without tokens, or a layer that the
            model does not have.
        PromptError: a deep prompt.

    Reference: nostalgebraist 2020, *interpreting GPT: the logit lens*.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> lens = read_logit_lens(model, ps.SoftPrompt(length=2).bind(model), nulls=Nulls(random=2))
    >>> lens.data["entropy"].dims, lens.data["of"].values.tolist()
    (('of', 'layer', 'position'), ['prompt', 'random 0', 'random 1'])
    """
    need_causal(model, "the logit lens at prompt positions")
    if n < 1:
        raise ProbeError(f"n must be at least 1, got {n}")
    every = list(range(-1, model.shape.n_layers))
    wanted = every if layers is None else sorted(set(layers))
    if not wanted or not set(wanted) <= set(every):
        raise ProbeError(f"layers must be one or more of -1..{every[-1]} for {model.name!r}, got {list(layers or [])}")
    with model.turn(hooks):
        return _read(model, prompt, n, label_words, nulls or Nulls(), wanted)


def _read(
    model: HookedModel, prompt: Prompt, n: int, label_words: Sequence[str], nulls: Nulls, layers: list[int]
) -> LogitLens:
    read = subjects(model, prompt, nulls=nulls)
    labels = label_token_ids(model, label_words) if label_words else []
    numbers: dict[str, list[np.ndarray]] = {}
    tables = []
    for subject in read:
        residual = prompt_residual(model, subject.prompt)
        log_q = lens_log_probabilities(residual[[layer + 1 for layer in layers]], model)
        last = log_q[-1] if layers[-1] == len(residual) - 2 else lens_log_probabilities(residual[-1], model)
        for name, values in _quantities(log_q, last, labels).items():
            numbers.setdefault(name, []).append(values.cpu().numpy())
        tables.append(_top(log_q, subject, model, n, layers))
    data = xr.Dataset(
        {name: (("of", "layer", "position"), np.stack(arrays)) for name, arrays in numbers.items()},
        coords={
            "of": [subject.of for subject in read],
            "kind": ("of", [subject.kind for subject in read]),
            "layer": layers,
            "position": list(range(read[0].prompt.length)),
        },
    )
    top = pd.concat(tables, ignore_index=True)
    return LogitLens(data, top, tuple(label_words), provenance(model, prompt, read))


def lens_log_probabilities(residual: Float[Tensor, "*rows d_model"], model: HookedModel) -> Float[Tensor, "*rows V"]:
    """Return `log softmax(W_U norm(h))` (rows, V) in float32 or more precise."""
    if not model.family.has("ln_final.hook_out"):
        raise ProbeError(
            "the logit lens needs a model whose logits are a final norm and a matrix, and "
            f"{model.name!r} ({model.family.name}) is none: it has no final norm, or a head with more "
            "layers. Use read_nearest_tokens"
        )
    # Hooks may be attached to the bridge's final norm and unembedding; without any, the plain one does the same.
    unembed = model.hooked_unembed if model.active_hooks() else model.unembed
    logits = unembed(model.bridge.ln_final(residual))
    return log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=-1)


def _quantities(
    log_q: Float[Tensor, "layer k V"], last: Float[Tensor, "k V"], labels: list[int]
) -> dict[str, Float[Tensor, "layer k"]]:
    q = log_q.exp()
    found = {
        "entropy": -(q * log_q).sum(-1),
        # Rounding alone can take a divergence of zero below zero.
        "kl_to_last": (q * (log_q - last)).sum(-1).clamp(min=0),
    }
    return found | ({"label_mass": q[..., labels].sum(-1)} if labels else {})


def _top(
    log_q: Float[Tensor, "layer k V"], subject: Subject, model: HookedModel, n: int, layers: list[int]
) -> pd.DataFrame:
    best = log_q.topk(min(n, log_q.shape[-1]), dim=-1)
    n_layers, k, kept = best.indices.shape
    ids = best.indices.reshape(-1).tolist()
    return pd.DataFrame(
        {
            "of": subject.of,
            "kind": subject.kind,
            "layer": np.repeat(layers, k * kept),
            "position": np.tile(np.repeat(np.arange(k), kept), n_layers),
            "rank": np.tile(np.arange(1, kept + 1), n_layers * k),
            "token": token_names(model, ids),
            "token_id": ids,
            "probability": best.values.exp().reshape(-1).cpu().numpy().astype(np.float64),
        }
    )
