"""Figures of prompts that are compared, for each width: similarities, PCA, t-SNE."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from promptscope.comparison.tables import by_width
from promptscope.comparison.vectors import PromptVectors
from promptscope.plots import projection_figure
from promptscope.plots.theme import DIVERGING, titled_figure
from promptscope.statistics import pca_projection, tsne_projection

_FEWEST = 5
"""With fewer vectors than this, a t-SNE shows nothing, and none is drawn."""


def all_figures(
    prompts: Sequence[PromptVectors], groups: Mapping[str, str], similarities: pd.DataFrame, seed: int
) -> dict[str, go.Figure]:
    """Return the figures by name."""
    found = {}
    for width, mine in by_width(prompts).items():
        suffix = f" (width {width})" if len(by_width(prompts)) > 1 else ""
        if len(mine) > 1:
            found[f"cosines{suffix}"] = _cosines([one.name for one in mine], similarities, suffix)
        x = np.concatenate([one.x for one in mine])
        if len(x) < _FEWEST:
            continue
        labels = pd.DataFrame(
            [(one.name, groups[one.name], position) for one in mine for position in range(len(one.x))],
            columns=["prompt", "group", "position"],
        )
        colour = "group" if 1 < labels["group"].nunique() < len(mine) else "prompt"
        neighbours = min(10, len(x) // 2 - 1)
        for name, projection in (
            ("PCA", pca_projection(x, neighbours)),
            ("t-SNE", tsne_projection(x, n_neighbours=neighbours, seed=seed)),
        ):
            found[f"{name}{suffix}"] = projection_figure(
                projection, labels, colour, title=f"{name} of all vectors, by {colour}{suffix}"
            )
    return found


def _cosines(names: Sequence[str], similarities: pd.DataFrame, suffix: str) -> go.Figure:
    """Draw the per-token cosines of all pairs of prompts; the diagonal is left empty."""
    table = similarities.pivot_table(index="prompt", columns="other", values="per_token_cosine")
    matrix = table.reindex(index=names, columns=names).to_numpy(dtype=np.float64, copy=True)
    both = np.where(np.isnan(matrix), matrix.T, matrix)
    top = float(np.nanmax(np.abs(both))) or 1.0
    size = float(np.clip(26 * len(names), 220, 720))
    about = "mean cosine of a vector of one prompt with a vector of the other; 0 = orthogonal on average"
    figure = titled_figure(size + 220, size, f"Cosine of every two prompts{suffix}", about)
    figure.add_trace(
        go.Heatmap(
            z=both,
            x=list(names),
            y=list(names),
            colorscale=list(DIVERGING),
            zmin=-top,
            zmax=top,
            hovertemplate="%{y}, %{x}: %{z:.3f}<extra></extra>",
        )
    )
    return figure.update_yaxes(autorange="reversed")
