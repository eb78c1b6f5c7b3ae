"""Which figures `train` draws, and what each of them says."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from promptscope.inference import ModelSource
from promptscope.plots import token_heatmap
from promptscope.probes import ProbeResult
from recipes.token_splitting.measuring import Measured
from recipes.token_splitting.places import embeddings
from recipes.token_splitting.settings import Settings
from recipes.token_splitting.tasks import printed
from recipes.token_splitting.train_figures import by_count_figure, projections, transfer_figure
from recipes.token_splitting.train_tables import Prompts

CAPTIONS = {
    "accuracy": "Accuracy of the models with their shared prompt, by how many share it.",
    "concentration": (
        "How far models divide the tokens among themselves: 1 = every token matters to "
        "one model only. Dotted: the same with each model's importances shuffled among "
        "the tokens; this is high as well if each model needs few tokens."
    ),
    "alignment": (
        "Share of tokens whose nearest embeddings vote for the model that needs the token, "
        "corrected for chance (kappa): 0 = chance, 1 = all."
    ),
    "important_token_loss": "Table 3: loss without a token, for the model that needs it most; mean over all tokens.",
    "importance": (
        "By how many nats the loss rises without each token (zeroed), in the first run for each number of models."
    ),
    "shapley": "Shapley values of the same runs: tokens with the same effect share its value.",
    "transfer": "Table 8 for all runs.",
    "figure_1": "Figure 1: embeddings of the models that share a prompt, and its tokens.",
    "figure_2": "Figure 2: the same with models that it was not trained on.",
}
_FAMILIES = ("importance", "shapley", "transfer", "figure_1", "figure_2")


def caption_of(figure: str) -> str:
    """Return what a figure says, by its name or the family that its name begins with."""
    return CAPTIONS.get(figure) or next(CAPTIONS[name] for name in _FAMILIES if figure.startswith(name))


def all_figures(
    settings: Settings,
    models: Mapping[str, ModelSource],
    measured: Mapping[str, Measured],
    prompts: Prompts,
    runs: pd.DataFrame,
    transfer: pd.DataFrame,
) -> dict[str, go.Figure]:
    """Return the figures by name, those by number of models first."""
    found = {
        "accuracy": by_count_figure(
            runs, {"accuracy": ("accuracy", "solid")}, "Accuracy with a shared prompt", "mean over its models"
        ),
        "concentration": by_count_figure(
            runs,
            {"observed": ("concentration", "solid"), "null": ("null", "dot")},
            "Share of all importance that falls to each token's main model",
            "importance: rise of the loss when the token is zero; higher = more split",
        ),
        "alignment": by_count_figure(
            runs,
            {"by loss (paper)": ("kappa_loss", "solid"), "by ratio": ("kappa_ratio", "dash")},
            "Alignment of importance and place, above chance",
            "kappa of the neighbours' vote (cosine) and the model that needs the token; 0 = chance",
            whole=False,
        ),
        "important_token_loss": by_count_figure(
            runs,
            {"without a token": ("important_token_loss", "solid"), "whole prompt": ("loss", "dot")},
            "Loss without an important token",
            "mean over all tokens, each at the model with the largest loss",
            whole=False,
        ),
    }
    firsts = [one for one in measured.values() if one.plan.number == 0 and one.plan.kind.isdigit()]
    for one in firsts:
        if len(one.names) > 1:
            found[f"importance_{one.plan.name}"] = _of_run(one, one.importances["zero"].difference)
            if one.shapley is not None:
                found[f"shapley_{one.plan.name}"] = _of_run(one, one.shapley)
    for task in settings.tasks:
        found[f"transfer_{printed(task).replace('/', '-')}"] = transfer_figure(transfer, task)
    return found | _spaces(settings, models, firsts, prompts)


def _spaces(
    settings: Settings, models: Mapping[str, ModelSource], firsts: list[Measured], prompts: Prompts
) -> dict[str, go.Figure]:
    """Return Figure 1, and Figure 2 (the same with a model that the prompt was not trained on), for the first task.

    The paper's are of `5_model_0`, with five models and with a sixth. Here: the first run of the count that the
    settings vary, or of the largest count. If that count includes all models, Figure 2 is of the smallest count.
    """
    mine = [one for one in firsts if one.plan.task == settings.tasks[0] and len(one.names) > 1]
    by_size = sorted(mine, key=lambda one: len(one.names))
    shown = next((one for one in mine if len(one.names) == settings.varied), by_size[-1])
    chosen = {"figure_1": shown, "figure_2": shown if len(shown.names) < len(models) else by_size[0]}
    found = {}
    for name, one in chosen.items():
        own, others = list(one.names), [model for model in models if model not in one.names]
        if name == "figure_2" and not others:
            continue
        wanted = own if name == "figure_1" else own + others[:1]
        tables = dict(zip(wanted, embeddings({model: models[model] for model in wanted}), strict=True))
        rows = _some(tables, settings.shown)
        needed = [one.names[int(m)] for m in one.importances["zero"].assignment("loss")]
        for method, figure in projections(rows, prompts[one.plan.name][0], needed, one.plan.name).items():
            found[f"{name}_{method}"] = figure
    return found


def _of_run(one: Measured, result: ProbeResult) -> go.Figure:
    return token_heatmap(replace(result, title=f"{one.plan.name}: {result.title}"))


def _some(tables: Mapping[str, Float[np.ndarray, "V d"]], n: int) -> dict[str, Float[np.ndarray, "_ d"]]:
    """Draw *n* rows, the same of every vocabulary; 0: all.

    Rows that are zero in one of them, as that of [PAD] often is, are left out: they have no direction.
    """
    usable = np.flatnonzero(np.all([table.any(axis=1) for table in tables.values()], axis=0))
    if 0 < n < len(usable):
        usable = usable[np.sort(np.random.default_rng(0).choice(len(usable), n, replace=False))]
    return {name: table[usable] for name, table in tables.items()}
