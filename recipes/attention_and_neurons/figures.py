"""The paper's Figures 1-15, from results."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go

from promptscope import ProbeResult, plots
from promptscope.probes import layer_curves
from recipes.attention_and_neurons.results_of import (
    Summary,
    mean_over_tasks,
    some_prompts,
    stack_correlations,
)

CAPTIONS = {
    "figure_1": "PCA of v1 prompts: colour is the kind of task, symbol the language.",
    "figure_2": "PCA of v2 prompts in some layers: colour is the kind of task, symbol the language.",
    "figure_3": "Attention variability of the model without a prompt, mean over tasks.",
    "figure_4": "Attention KL of v1 and v2, two kinds of tasks.",
    "figure_5": "Attention KL by layer, mean over the tasks of a language.",
    "figure_6": "Correlation of attention variability and KL over the heads of a quarter of the layers; * p < 0.05.",
    "figure_7": "ON score, mean over pairs of tasks; the paper shows pairs within a language.",
    "figure_8": (
        "Cosine of the residual stream, at the position that predicts the label, with the "
        "gold and with another label word; mean over tasks."
    ),
    "figure_9": "PCA of v2 prompts, first third of the layers.",
    "figure_10": "PCA of v2 prompts, second third of the layers.",
    "figure_11": "PCA of v2 prompts, last third of the layers.",
    "figure_12": "Attention variability of each task.",
    "figure_12_concepts": "Attention variability of commonsense generation, over fewer tokens.",
    "figure_13": "Attention KL of each task, v1.",
    "figure_14": "Attention KL of each task, v2.",
    "figure_15": "Attention KL by layer and type of input.",
    "attention_mass": (
        "Not in the paper: share of attention that text gives to the prompt, compared "
        "with random prompts of the same norms."
    ),
    "attention_bias": (
        "Not in the paper: residual of the attention-bias decomposition, relative to "
        "the head's output; 0 in layer 0 by construction."
    ),
    "attention_kl_per_query": "Not in the paper: KL of each query's attention over the text, renormalised.",
    "label_cosine_centred": (
        "Not in the paper: Figure 8 with the mean row of the unembedding subtracted (anisotropy)."
    ),
    "label_cosine_residual": "Not in the paper: Figure 8 with the label word's own residual stream as reference.",
    "residual_pca": (
        "Not in the paper: PCA of the residual stream at the position that predicts the "
        "label, with each prompt and without one; one task."
    ),
    "kl_and_random": "Not in the paper: Figure 5, with random prompts of the same norms added.",
    "on_score_binary": (
        "Not in the paper: Figure 7 computed from which neurons are active, not from their activations."
    ),
}

TITLES = {
    "figure_12_concepts": "Figure 12, commonsense generation",
    "attention_mass": "Attention to the prompt",
    "attention_bias": "Residual of the attention-bias decomposition",
    "attention_kl_per_query": "Attention KL, per query",
    "label_cosine_centred": "Label words, centred",
    "label_cosine_residual": "Label words, residual stream",
    "residual_pca": "Residual stream",
    "kl_and_random": "Attention KL and random prompts",
    "on_score_binary": "ON score of active neurons",
}
"""Headings of figures that are not simply numbered."""


def paper_figures(summary: Summary, languages: Mapping[str, str]) -> dict[str, go.Figure]:
    """Return the figures by number, and those that the paper does not have."""
    layers = summary.pca["v2"].data["layer"].values.tolist()
    found = {
        "figure_1": plots.components(summary.pca["v1"]),
        "figure_2": plots.components(summary.pca["v2"], _spread(layers, 4)),
        "figure_3": plots.heatmap(mean_over_tasks(summary.variability)),
        "figure_4": plots.heatmap(some_prompts(summary.kl_shown)),
        "figure_5": plots.layer_curve(some_prompts(summary.kl_by_language)),
        "figure_6": plots.matrix(
            replace(stack_correlations(summary.correlations), title="Correlation over heads"), "task", "layers"
        ),
        "figure_7": plots.layer_curve(some_prompts(summary.on)),
    }
    if summary.cosines:
        curves = layer_curves(summary.cosines, by={task: languages[task] for task in summary.cosines})
        found["figure_8"] = plots.layer_curve(some_prompts(curves))
    for number, part in zip((9, 10, 11), np.array_split(np.array(layers), 3), strict=True):
        if len(part):
            found[f"figure_{number}"] = plots.components(summary.pca["v2"], part.tolist())
    found["figure_12"] = plots.heatmap(summary.variability)
    if summary.short_variability is not None:
        found["figure_12_concepts"] = plots.heatmap(summary.short_variability)
    for number, variant in ((13, "v1"), (14, "v2")):
        found[f"figure_{number}"] = plots.heatmap(_of_variant(summary.kl, variant))
    found["figure_15"] = plots.layer_curve(some_prompts(summary.kl_by_input))
    for name, curves in summary.further.items():
        found[name] = plots.layer_curve(some_prompts(curves) if name.startswith("label_cosine") else curves)
    found["kl_and_random"] = plots.layer_curve(summary.kl_by_language)
    found["on_score_binary"] = plots.layer_curve(some_prompts(summary.on_binary))
    task, residual = next(iter(summary.residual.items()))
    known = residual.data["layer"].values.tolist()
    found["residual_pca"] = plots.components(replace(residual, title=f"{residual.title}, {task}"), _spread(known, 4))
    return found


def _spread(layers: Sequence[int], n: int) -> list[int]:
    """Pick at most *n* layers, evenly, with the first and the last."""
    return [layers[i] for i in np.unique(np.linspace(0, len(layers) - 1, n).round().astype(int)).tolist()]


def _of_variant(result: ProbeResult, variant: str) -> ProbeResult:
    return replace(result, data=result.data.sel(prompt=variant, drop=True), title=f"{result.title}, {variant}")
