"""The result of `ps.importance`: losses without each token, and measures of importance made from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Int

from promptscope.errors import ProbeError, nearest
from promptscope.probes import ProbeResult, Saved
from promptscope.statistics import assign_tokens

if TYPE_CHECKING:
    import plotly.graph_objects as go

MEASURES = ("loss", "difference", "ratio", "kl")
"""What removing a token can be measured by; see `Importance`."""


@dataclass(frozen=True)
class Importance(Saved):
    """Importance of k prompt tokens to M models, by four measures.

    Each measure is a `ProbeResult` with the dimensions `model` and `token`. With L_i the mean cross-entropy without
    token i, and L that with the whole prompt, in nats per target token:

    - `loss`: `L_i`, the importance of Reimann & Sadrieh 2024;
    - `difference`: `L_i - L`; 0 = the token does not matter, below 0 = the model is better without it;
    - `ratio`: `L_i / L`; 1 = the token does not matter;
    - `kl`: `KL(P || Q)` in nats, >= 0, at the first target token: P is the distribution with the whole prompt, Q that
      without token i.

    Higher = more important in all four. `whole` is L, by `model`. 95 % intervals are bootstrap intervals over examples;
    `loss` and `whole` also hold `per_example`, the mean over each example's target tokens.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> found = ps.importance(model, ps.SoftPrompt(3).bind(model), task, limit=2, progress=False)
    >>> found.to_dataframe()[["token", "loss", "kl"]].shape
    (3, 3)
    """

    loss: ProbeResult
    difference: ProbeResult
    ratio: ProbeResult
    kl: ProbeResult
    whole: ProbeResult

    def measure(self, name: str) -> ProbeResult:
        """Return a measure by its name: `loss`, `difference`, `ratio` or `kl`.

        Raises:
            ProbeError: another name.
        """
        if name not in MEASURES:
            raise ProbeError(f"measure must be one of {', '.join(MEASURES)}, got {name!r}.{nearest(name, MEASURES)}")
        return getattr(self, name)

    def assignment(self, measure: str = "ratio") -> Int[np.ndarray, k]:
        """Return for each token the index of the model that needs it most; see `ps.statistics.assign_tokens`."""
        return assign_tokens(self.measure(measure).values.values)

    def to_dataframe(self) -> pd.DataFrame:
        """Return a table with one row per model and token.

        Columns: each measure with the ends of its interval (`_low`, `_high`), and the loss with the whole prompt.
        """
        table = self.loss.values.to_dataframe(name="loss").reset_index()[["model", "token"]]
        for name in MEASURES:
            data = self.measure(name).data
            for column, variable in ((name, "values"), (f"{name}_low", "low"), (f"{name}_high", "high")):
                table[column] = data[variable].values.ravel()
        table["whole_loss"] = table["model"].map(self.whole.values.to_series())
        return table

    def plot(self, measure: str = "difference") -> go.Figure:
        """Draw a measure as a heat map of models by tokens."""
        from promptscope.plots.importance import token_heatmap  # plots imports us; the user's shortcut

        return token_heatmap(self.measure(measure))

    def _results(self) -> Mapping[str, ProbeResult]:
        return vars(self)

    def __repr__(self) -> str:
        models, tokens = (self.loss.values.sizes[dim] for dim in ("model", "token"))
        return f"Importance of {tokens} tokens to {models} models\n" + "\n".join(map(repr, self._results().values()))
