"""What the published files say beyond the paper's tables; functions of the folder, one table each.

Exploratory: these analyses were chosen after the tables had been seen, and have three to five runs of each kind.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict

import numpy as np
import pandas as pd
from jaxtyping import Float

from promptscope.statistics import (
    alignment_test,
    assign_tokens,
    concentration_test,
    importance_difference,
    importance_ratio,
    important_to,
    mcnemar_test,
    paired_permutation_test,
    transfer_summary,
)
from recipes.token_splitting.source import AbsentError, Source

IMPORTANCES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "loss": lambda masked, full: masked,
    "difference": importance_difference,
    "ratio": importance_ratio,
}
THRESHOLD = 1.1


def alignment_table(a: Source) -> pd.DataFrame:
    """Return alignment (Table 13) with its exact permutation null, for three importances and both metrics.

    `gained` counts the tokens that agree under this importance but not under the masked loss, `lost` the opposite;
    `change_p` is the exact McNemar test of the two.
    """
    rows = []
    for dataset, n, losses in _classes(a):
        evaluations = [a.evaluation(run) for run in a.runs_of(dataset, n)]
        seeds = [np.array(evaluation.models) for evaluation in evaluations]
        for metric in ("cosine", "euclidean"):
            votes = np.array([getattr(evaluation, f"{metric}_vote") for evaluation in evaluations])
            before = None
            for name, importance in IMPORTANCES.items():
                rows_of = [assign_tokens(importance(masked, full)) for masked, full in losses]
                assigned = np.array([models[at] for models, at in zip(seeds, rows_of, strict=True)])
                agrees = (assigned == votes).ravel()
                before = agrees if before is None else before
                gained, lost, change_p = mcnemar_test(before, agrees)
                test = asdict(alignment_test(assigned, votes, int(n)))
                change = {"gained": gained, "lost": lost, "change_p": change_p}
                rows.append(
                    {"dataset": dataset, "models": int(n), "metric": metric, "importance": name} | test | change
                )
    return pd.DataFrame(rows)


def importance_table(a: Source) -> pd.DataFrame:
    """Return how many tokens matter (ratio above 1.1), to how many models, and how many the ratio gives another model.

    `concentration` is the share of all importance (difference) that falls to each token's main model, with its null.
    """
    rows = []
    for dataset, n, losses in _classes(a):
        counts = np.array([important_to(importance_ratio(masked, full), THRESHOLD) for masked, full in losses])
        same = [assign_tokens(masked) == assign_tokens(importance_ratio(masked, full)) for masked, full in losses]
        matters = counts > 0
        test = concentration_test(np.array([importance_difference(masked, full) for masked, full in losses]))
        rows.append(
            {
                "dataset": dataset,
                "models": int(n),
                "tokens": counts.size,
                "matter": matters.mean(),
                "of these to one model": (counts[matters] == 1).mean() if matters.any() else float("nan"),
                "same model by loss and by ratio": np.mean(same),
                "concentration": test.observed,
                "null_mean": test.null_mean,
                "p_value": test.p_value,
            }
        )
    return pd.DataFrame(rows)


def prompt_table(a: Source) -> pd.DataFrame:
    """Return every run's prompt: its size, mean L2 norm of its tokens before and after training, cosine of the two.

    Reads every prompt file of the folder, so that one that has to be refused is found.
    """
    rows = []
    for run in a.runs():
        try:
            trained, initial = a.prompt(run), _prompt_or_none(a, run)
        except AbsentError:
            _prompt_or_none(a, run)
            continue
        row = {"run": run, "length": len(trained), "width": trained.shape[1], "norm": _norms(trained).mean()}
        if initial is not None and initial.shape == trained.shape:
            cosines = (trained * initial).sum(axis=1) / (_norms(trained) * _norms(initial))
            row |= {"initial_norm": _norms(initial).mean(), "cosine_to_initial": cosines.mean()}
        rows.append(row)
    return pd.DataFrame(rows, columns=["run", "length", "width", "norm", "initial_norm", "cosine_to_initial"])


def transfer_table(a: Source) -> pd.DataFrame:
    """Return what training 5_model_0 on five models does to these and to the other twenty (Table 8), with a test.

    `p_value`: paired permutation test, over the other models, of the losses before and after.
    """
    try:
        losses = a.transfer_losses("5_model_0")
        own = np.isin(np.arange(len(losses.trained)), a.evaluation("5_model_0").models)
    except AbsentError:
        return pd.DataFrame()
    summary = transfer_summary(losses.trained[None], losses.initial[None], own[None])
    _, p_value = paired_permutation_test(losses.initial[~own], losses.trained[~own])
    return pd.DataFrame([{name: value[0] for name, value in asdict(summary).items()} | {"p_value": float(p_value)}])


def _classes(a: Source) -> Iterator[tuple[str, str, list[tuple[np.ndarray, np.ndarray]]]]:
    """Yield (data set, number of models, [(masked losses, full losses) of each run]) of the classes that have runs."""
    for dataset in a.datasets:
        for n in a.counts:
            try:
                yield dataset, n, [_losses(a, run) for run in a.runs_of(dataset, n)]
            except AbsentError:
                continue


def _losses(a: Source, run: str) -> tuple[Float[np.ndarray, "M k"], Float[np.ndarray, "M"]]:
    masked, evaluation = a.masked_losses(run), a.evaluation(run)
    if sorted(masked.models) != sorted(evaluation.models):
        raise AbsentError(f"{run}: its two files are about models {masked.models} and {evaluation.models}")
    # The two files need not list the models in the same order.
    order = [masked.models.index(model) for model in evaluation.models]
    return masked.losses[order], evaluation.whole_loss


def _prompt_or_none(a: Source, run: str) -> np.ndarray | None:
    try:
        return a.prompt(run, "init_soft_prompt")
    except AbsentError:
        return None


def _norms(prompt: np.ndarray) -> np.ndarray:
    return np.linalg.norm(prompt, axis=1)
