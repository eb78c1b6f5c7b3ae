"""What the paper claims, each claim a number that is above zero where it is right, by task.

`holds`: so is its whole 95 % interval over runs (or p < 0.05); `does not hold`: all of it is below; `undecided`: the
interval reaches over zero; `not measured`: the runs do not give it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from promptscope.statistics import alignment_test, assign_tokens, concentration_test, permutation_null
from recipes.common.verdicts import mean_with_interval, verdict_by_test, verdict_of
from recipes.token_splitting.measuring import Measured
from recipes.token_splitting.per_run import main_runs

MARGIN = 0.05
"""What counts as "little": accuracy that a shared prompt may lose, share of the gain that may be transferred."""


@dataclass(frozen=True)
class Finding:
    """One claim beside its number; `meaning` says what the number is."""

    claim: str
    section: str
    task: str
    verdict: str
    number: float
    low: float
    high: float
    p_value: float
    meaning: str


def findings(measured: Mapping[str, Measured], runs: pd.DataFrame, permutations: int) -> pd.DataFrame:
    """Return every claim for every task; *runs* is `run_table`'s."""
    rows: list[Finding] = []
    for task in dict.fromkeys(one.plan.task for one in measured.values()):
        mine = {name: one for name, one in measured.items() if one.plan.task == task}
        main = main_runs(runs[runs["task"] == task])
        largest = {name: mine[name] for name in main[main["models"] == main["models"].max()]["run"]}
        rows += [
            _little_is_lost(task, mine, main),
            _nothing_is_transferred(task, main),
            _each_token_has_one_model(task, largest, main, permutations),
            _trend(
                task,
                "models split the tokens more, the more of them share the prompt",
                "4.5, Tables 3 and 10-12",
                main,
                "excess",
                permutations,
            ),
            _trend(
                task,
                "the loss without an important token rises with the number of models",
                "4.5, Table 3",
                main,
                "important_token_loss",
                permutations,
            ),
            _tokens_lie_where_they_are_needed(task, largest),
            _trend(
                task, "alignment rises with the number of models", "4.5, Table 13", main, "kappa_loss", permutations
            ),
            _own_beat_random(task, largest),
            _ratio_aligns_better(task, main),
        ]
    return pd.DataFrame([asdict(row) for row in rows])


def _little_is_lost(task: str, mine: Mapping[str, Measured], main: pd.DataFrame) -> Finding:
    single = {one.names[0]: _own(one, "whole", "accuracy")[0] for one in mine.values() if one.plan.kind == "1"}
    lost = [
        np.mean([single[name] for name in mine[run].names]) - accuracy
        for run, accuracy in zip(main["run"], main["accuracy"], strict=True)
        if single
    ]
    meaning = f"{MARGIN} less the accuracy that a shared prompt loses against one for each model, mean over runs"
    numbers = mean_with_interval([MARGIN - one for one in lost])
    return _of(task, "one prompt for several models loses little", "4.2, Table 1", numbers, meaning)


def _nothing_is_transferred(task: str, main: pd.DataFrame) -> Finding:
    shares = main["transferred"].to_numpy(dtype=np.float64)
    mean, low, high = mean_with_interval(MARGIN - shares)
    meaning = f"{MARGIN} less the gain of models that it was not trained on, as a share of its own models' gain"
    return _of(task, "nothing is transferred to other models", "4.3, Table 8", (mean, low, high), meaning)


def _each_token_has_one_model(
    task: str, largest: Mapping[str, Measured], main: pd.DataFrame, permutations: int
) -> Finding:
    differences = np.stack([one.importances["zero"].difference.values.values for one in largest.values()])
    test = concentration_test(differences, permutations)
    of = main[main["run"].isin(list(largest))]
    mean, low, high = mean_with_interval(of["excess"].to_numpy(dtype=np.float64))
    count = int(of["models"].max())
    meaning = (
        f"{count} models: importance (difference) of each token's main model, as a share of all, {test.observed:.3f}, "
        f"less its permutation null {test.null_mean:.3f}; tokens that matter to one model only: "
        f"{of['to_one'].mean():.2f} of the {of['matter'].mean():.2f} that matter"
    )
    claim = "each token matters to one model"
    verdict = verdict_by_test(mean, test.p_value)
    return Finding(claim, "4.5, Tables 10-12", task, verdict, mean, low, high, test.p_value, meaning)


def _tokens_lie_where_they_are_needed(task: str, largest: Mapping[str, Measured]) -> Finding:
    count = len(next(iter(largest.values())).names)
    votes = np.array([one.places.votes["cosine"] for one in largest.values()])
    assigned = np.array([assign_tokens(one.importances["zero"].loss.values.values) for one in largest.values()])
    test = alignment_test(assigned, votes, count)
    each = [alignment_test(a[None], v[None], count).kappa for a, v in zip(assigned, votes, strict=True)]
    _, low, high = mean_with_interval(each)
    verdict = verdict_by_test(test.kappa, test.p_value)
    meaning = (
        f"{count} models: kappa of {test.observed:.3f} agreement with the neighbours' vote (cosine), by chance "
        f"{test.null_mean:.3f}; p by exact permutation"
    )
    claim = "a token lies in the embedding space of the model that needs it"
    return Finding(claim, "4.5, Table 13", task, verdict, test.kappa, low, high, test.p_value, meaning)


def _own_beat_random(task: str, largest: Mapping[str, Measured]) -> Finding:
    gains = [_own(one, "random_masked", "loss").mean() - _own(one, "masked", "loss").mean() for one in largest.values()]
    meaning = "loss with as many random tokens left, less loss with the model's own tokens left (others zero)"
    numbers = mean_with_interval(gains)
    return _of(
        task, "a model can do with its own tokens, better than with others", "4.5, Tables 4 and 14", numbers, meaning
    )


def _ratio_aligns_better(task: str, main: pd.DataFrame) -> Finding:
    change = (main["kappa_ratio"] - main["kappa_loss"]).to_numpy(dtype=np.float64)
    meaning = f"kappa of alignment by ratio less that by loss, mean over runs; {main['kept'].mean():.2f} of the "
    meaning += "tokens have the same model by both"
    return _of(task, "importance as a ratio aligns better", "5", mean_with_interval(change), meaning)


def _trend(task: str, claim: str, section: str, main: pd.DataFrame, column: str, permutations: int) -> Finding:
    known = main[np.isfinite(main[column].to_numpy(dtype=np.float64))]
    counts, values = (rankdata(known[name].to_numpy(dtype=np.float64)) for name in ("models", column))
    if known["models"].nunique() < 2 or known[column].nunique() < 2:
        return Finding(claim, section, task, "not measured", np.nan, np.nan, np.nan, np.nan, f"trend of {column}")
    rho, p, _ = permutation_null(_correlation, counts, values, permutations)
    by_count = known.groupby("models")[column].mean()
    means = ", ".join(f"{count}: {value:.3g}" for count, value in by_count.items())
    meaning = f"Spearman's rho over runs of {column} and the number of models ({means}); p two-sided, by permutation"
    return Finding(claim, section, task, verdict_by_test(rho, p), rho, np.nan, np.nan, p, meaning)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x, y)[0, 1])


def _own(one: Measured, variant: str, column: str) -> np.ndarray:
    chosen = one.scores[one.scores["own"] & (one.scores["variant"] == variant)]
    return chosen[column].to_numpy(dtype=np.float64)


def _of(task: str, claim: str, section: str, numbers: tuple[float, float, float], meaning: str) -> Finding:
    return Finding(claim, section, task, verdict_of(*numbers), *numbers, np.nan, meaning)
