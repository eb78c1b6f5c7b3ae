"""Why printed numbers differ from those computed here; each reason is tested on the cell that it explains."""

import math
from collections.abc import Callable

import numpy as np

from recipes.common import Explanation
from recipes.token_splitting.artifacts import Artifacts
from recipes.token_splitting.source import AbsentError

Cell = tuple[str, str, str]


def explanations(a: Artifacts) -> list[Explanation]:
    """Return the known reasons, the most specific first."""
    return [
        Explanation(
            "spread over models, averages included",
            "the printed spread is that of all models' losses of all runs, to which each file's own average is "
            "added as if it were a model (the authors' reader keeps that last column); ours is that of run means",
            _shortened_spread(a, with_average=True),
        ),
        Explanation(
            "spread over models",
            "the printed spread is that of all models' losses of all runs; ours is that of run means, as in the "
            "other cells of the table",
            _shortened_spread(a, with_average=False),
        ),
        Explanation(
            "not rounded but cut",
            "the printed number is the same one, cut after its last printed digit",
            lambda cell, exact: math.floor(exact * 1000) / 1000,
        ),
        Explanation(
            "misprint in one cell",
            "val_losses_test.csv has 11.5946 for model 17; no number in the folder rounds to the printed one",
            stated={("8", "17", "trained soft prompt"): 11.594599723815918},
        ),
    ]


def _shortened_spread(a: Artifacts, with_average: bool) -> Callable[[Cell, float], float | None]:
    def number(cell: Cell, exact: float) -> float | None:
        table, row, column = cell
        if table != "4" or not column.endswith("shortened std"):
            return None
        try:
            losses = [a.evaluation(run).shortened_loss for run in a.runs_of(column.split()[0], row)]
        except AbsentError:
            return None
        return float(np.std([loss for run in losses for loss in ([*run, run.mean()] if with_average else run)]))

    return number
