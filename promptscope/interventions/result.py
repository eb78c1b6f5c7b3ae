"""What masking a prompt's tokens did: losses, and what they say of each token and model."""

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
    """Importance of k tokens to M models by four measures, each a `ProbeResult` with the dimensions `model`, `token`.

    - `loss`: mean cross-entropy (nats per target token) without the token, the paper's own importance;
    - `difference`: that minus the loss of the whole prompt;
    - `ratio`: that over the loss of the whole prompt; 1 = the token does not matter;
    - `kl`: `KL(P || Q)` in nats of the first target token's distribution, P with the whole prompt, Q without the token.

    `whole` holds the loss of the whole prompt, by `model`. Higher = more important, in all. 95 % intervals are over
    examples (bootstrap); `loss` and `whole` also hold `per_example`, each example's mean over its target tokens.

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
        """Return a measure by its name.

        Raises:
            ProbeError: there is no such measure.
        """
        if name not in MEASURES:
            raise ProbeError(
                f"importance is measured by {', '.join(MEASURES)}, not by {name!r}.{nearest(name, MEASURES)}"
            )
        return getattr(self, name)

    def assignment(self, measure: str = "ratio") -> Int[np.ndarray, k]:
        """Return for each token the index of the model to which it is most important; see `assign_tokens`."""
        return assign_tokens(self.measure(measure).values.values)

    def to_dataframe(self) -> pd.DataFrame:
        """Return a row per model and token: every measure with `_low` and `_high`, and the loss of the whole prompt."""
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
