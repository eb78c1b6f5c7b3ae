"""The cells of the paper's Tables 2 and 7, from scores (percent, mean over seeds), and numbers from its text."""

from collections.abc import Callable, Mapping

import pandas as pd

import promptscope as ps
from recipes.attention_and_neurons.observations import within_languages
from recipes.attention_and_neurons.scores import main_metric
from recipes.attention_and_neurons.settings import KNOWN

Cells = dict[tuple[str, str], float]
_QA = {"squad_f1": "F1", "squad_exact": "EM", "korquad_f1": "F1", "korquad_exact": "EM"}


def table_7(scores: pd.DataFrame, tasks: Mapping[str, ps.Task]) -> Cells:
    """Return (data set, variant) -> score of v1 and v2; data sets that the paper lacks go by their own names."""
    return _cells(scores, tasks, ("v1", "v2"), lambda name: KNOWN[name].printed if name in KNOWN else name)


def table_2(scores: pd.DataFrame, tasks: Mapping[str, ps.Task]) -> Cells:
    """Return (task and language, group of layers) -> score of the deep prompts in peaks and in troughs."""
    return _cells(scores, tasks, ("peak", "trough"), _kind_and_language)


def text_cells(on: ps.ProbeResult, prompts: Mapping[str, ps.Prompt]) -> Cells:
    """Return numbers that the paper's text gives: sizes of the prompts, where ON scores are lowest (section 4.4)."""
    cells: Cells = {}
    for variant in ("v1", "v2"):
        n = sum(parameter.numel() for parameter in prompts[variant].parameters())
        curve = within_languages(on).sel(prompt=variant)["curve"].mean("pairs")
        cells["trainable parameters", variant] = float(n)
        cells["layer of the lowest ON score", variant] = float(curve["layer"].values[curve.values.argmin()])
    return cells


def _kind_and_language(name: str) -> str:
    return f"{KNOWN[name].kind} {KNOWN[name].language}" if name in KNOWN else name


def _cells(
    scores: pd.DataFrame, tasks: Mapping[str, ps.Task], variants: tuple[str, ...], row: Callable[[str], str]
) -> Cells:
    means = scores.groupby(["task", "variant", "metric"], sort=False)["score"].mean()
    cells: Cells = {}
    for (task, variant, metric), score in means.items():
        if variant in variants and metric in {*_QA, main_metric(tasks[task])}:
            cells[row(task), f"{variant} {_QA[metric]}" if metric in _QA else variant] = 100 * float(score)
    return cells
