"""What the paper claims, each claim a number that is above zero where it is right: by task, then over tasks.

The interval of a task is over runs, by the rules of `recipes.common.findings`; where a test belongs to the claim, its p
has to be below .05 as well. Prompts that learned nothing decide no claim: where accuracy is claimed, prompts for one
model alone must reach more of it than untrained ones, elsewhere a lower loss.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from promptscope.statistics import alignment_test, assign_tokens, concentration_test, permutation_null
from recipes.common import Finding, Number, absent, finding_table, judge, over_tasks
from recipes.common.findings import worse
from recipes.common.verdicts import mean_with_interval, verdict_by_test
from recipes.token_splitting.measuring import Measured
from recipes.token_splitting.per_run import main_runs

MARGIN = 0.05
"""What counts as "little": accuracy that a shared prompt may lose, share of the gain that may be transferred."""


def findings(measured: Mapping[str, Measured], runs: pd.DataFrame, permutations: int) -> pd.DataFrame:
    """Return every claim for every task and over tasks; *runs* is `run_table`'s."""
    by_task: list[list[Finding]] = []
    for task in dict.fromkeys(one.plan.task for one in measured.values()):
        mine = {name: one for name, one in measured.items() if one.plan.task == task}
        main = main_runs(runs[runs["task"] == task])
        largest = {name: mine[name] for name in main[main["models"] == main["models"].max()]["run"]}
        of_scores = [
            _little_is_lost(task, mine, main),
            _nothing_is_transferred(task, mine, main),
        ]
        of_tokens = [
            _tokens_are_split(task, largest, main, permutations),
            _each_token_has_one_model(task, main),
            _trend(
                task,
                "models split the tokens more, the more of them share the prompt",
                "4.5, Tables 3 and 10-12",
                main,
                "excess",
                permutations,
            ),
            _important_tokens_cost_more(task, main, permutations),
            _tokens_lie_where_they_are_needed(task, largest),
            _trend(
                task, "alignment rises with the number of models", "4.5, Table 13", main, "kappa_loss", permutations
            ),
            _own_beat_random(task, largest),
            _ratio_aligns_better(task, main),
        ]
        reason = _nothing_learned(mine, "loss")
        if reason:
            of_tokens = [absent(one.claim, one.section, task, f"{one.meaning}; {reason}") for one in of_tokens]
        by_task.append([*of_scores, *of_tokens])
    found: list[Finding] = []
    for of_claim in zip(*by_task, strict=True):
        found += of_claim
        known = [one for one in of_claim if np.isfinite(one.number)]
        found += [over_tasks(known)] if len(known) > 1 else []
    return finding_table(found)


def _little_is_lost(task: str, mine: Mapping[str, Measured], main: pd.DataFrame) -> Finding:
    claim, section = "one prompt for several models loses little", "4.2, Table 1"
    single = {one.names[0]: _own(one, "whole", "accuracy")[0] for one in mine.values() if one.plan.kind == "1"}
    meaning = f"{MARGIN} less the accuracy that a shared prompt loses against one for each model, mean over runs"
    reason = _nothing_learned(mine)
    if reason or not single:
        return absent(claim, section, task, f"{meaning}; {reason or 'no single prompts'}")
    lost = [
        np.mean([single[name] for name in mine[run].names]) - accuracy
        for run, accuracy in zip(main["run"], main["accuracy"], strict=True)
    ]
    return judge(claim, section, task, Number(*mean_with_interval([MARGIN - one for one in lost])), meaning)


def _nothing_is_transferred(task: str, mine: Mapping[str, Measured], main: pd.DataFrame) -> Finding:
    claim, section = "nothing is transferred to other models", "4.3, Table 8"
    meaning = f"{MARGIN} less the gain of models that it was not trained on, as a share of its own models' gain"
    reason = _nothing_learned(mine)
    if reason:
        return absent(claim, section, task, f"{meaning}; {reason}")
    number = Number(*mean_with_interval(MARGIN - main["transferred"].to_numpy(dtype=np.float64)))
    return judge(claim, section, task, number, meaning)


def _nothing_learned(mine: Mapping[str, Measured], measure: str = "accuracy") -> str:
    """Return why nothing can be lost, transferred or split: prompts for one model alone do not beat untrained ones."""
    singles = [one for one in mine.values() if one.plan.kind == "1"]
    better, least = (1, MARGIN) if measure == "accuracy" else (-1, 0.0)
    gains = [better * float(_own(one, "whole", measure)[0] - _own(one, "initial", measure)[0]) for one in singles]
    mean, low, _ = mean_with_interval(gains)
    if low > 0 and mean > least:
        return ""
    gained = f"{measure} {'above' if better > 0 else 'below'} the untrained ones {mean:.3f} (low {low:.3f})"
    return f"prompts for one model alone learned nothing: {gained}"


def _tokens_are_split(task: str, largest: Mapping[str, Measured], main: pd.DataFrame, permutations: int) -> Finding:
    differences = np.stack([one.importances["zero"].difference.values.values for one in largest.values()])
    test = concentration_test(differences, permutations)
    of = main[main["run"].isin(list(largest))]
    number = Number(*mean_with_interval(of["excess"].to_numpy(dtype=np.float64)))
    meaning = (
        f"{int(of['models'].max())} models: importance (difference) of each token's main model, as a share of all, "
        f"{test.observed:.3f}, less its permutation null {test.null_mean:.3f}"
    )
    claim = "importance falls to one model a token, more than by chance"
    return judge(claim, "4.5, Tables 10-12", task, number, meaning, p_value=test.p_value)


def _each_token_has_one_model(task: str, main: pd.DataFrame) -> Finding:
    of = main[main["models"] == main["models"].max()]
    shares, by_chance = (of[name].to_numpy(dtype=np.float64) for name in ("one_only", "one_only_null"))
    meaning = (
        f"{int(of['models'].max())} models: the share of all tokens that matter to one model only (ratio above 1.1), "
        f"{shares.mean():.2f}, less a half ({of['matter'].mean():.2f} of all tokens matter to some model); null: the "
        f"same if which tokens a model needs is random, {by_chance.mean():.2f}"
    )
    number, beyond = (Number(*mean_with_interval(shares - least)) for least in (0.5, by_chance))
    null = mean_with_interval(by_chance - 0.5)[0]
    return judge("most tokens matter to one model only", "4.5, Tables 10-12", task, number, meaning, null, beyond)


def _important_tokens_cost_more(task: str, main: pd.DataFrame, permutations: int) -> Finding:
    """The largest of ten models' losses is above the largest of two also where no token matters."""
    claim, section = "the loss without an important token rises with the number of models", "4.5, Table 3"
    found, beyond = (
        _trend(task, claim, section, main, column, permutations)
        for column in ("important_token_loss", "important_token_rise")
    )
    meaning = f"{found.meaning}; less the largest loss of a model with the whole prompt: {beyond.meaning}"
    return replace(found, verdict=worse(found.verdict, beyond.verdict), beyond=beyond.number, meaning=meaning)


def _tokens_lie_where_they_are_needed(task: str, largest: Mapping[str, Measured]) -> Finding:
    count = len(next(iter(largest.values())).names)
    votes = np.array([one.places.votes["cosine"] for one in largest.values()])
    assigned = np.array([assign_tokens(one.importances["zero"].loss.values.values) for one in largest.values()])
    test = alignment_test(assigned, votes, count)
    each = [alignment_test(a[None], v[None], count).kappa for a, v in zip(assigned, votes, strict=True)]
    _, low, high = mean_with_interval(each)
    meaning = (
        f"{count} models: kappa of {test.observed:.3f} agreement with the neighbours' vote (cosine), by chance "
        f"{test.null_mean:.3f}; p by exact permutation"
    )
    claim = "a token lies in the embedding space of the model that needs it"
    return judge(claim, "4.5, Table 13", task, Number(test.kappa, low, high), meaning, p_value=test.p_value)


def _own_beat_random(task: str, largest: Mapping[str, Measured]) -> Finding:
    gains = [_own(one, "random_masked", "loss").mean() - _own(one, "masked", "loss").mean() for one in largest.values()]
    meaning = "loss with as many random tokens left, less loss with the model's own tokens left (others zero)"
    claim = "a model can do with its own tokens, better than with others"
    return judge(claim, "4.5, Tables 4 and 14", task, Number(*mean_with_interval(gains)), meaning)


def _ratio_aligns_better(task: str, main: pd.DataFrame) -> Finding:
    change = (main["kappa_ratio"] - main["kappa_loss"]).to_numpy(dtype=np.float64)
    meaning = f"kappa of alignment by ratio less that by loss, mean over runs; {main['kept'].mean():.2f} of the "
    meaning += "tokens have the same model by both"
    return judge("importance as a ratio aligns better", "5", task, Number(*mean_with_interval(change)), meaning)


def _trend(task: str, claim: str, section: str, main: pd.DataFrame, column: str, permutations: int) -> Finding:
    known = main[np.isfinite(main[column].to_numpy(dtype=np.float64))]
    counts, values = (rankdata(known[name].to_numpy(dtype=np.float64)) for name in ("models", column))
    if known["models"].nunique() < 2 or known[column].nunique() < 2:
        return absent(claim, section, task, f"trend of {column}: one number of models, or runs that are alike")
    rho, p, _ = permutation_null(_correlation, counts, values, permutations)
    by_count = known.groupby("models")[column].mean()
    means = ", ".join(f"{count}: {value:.3g}" for count, value in by_count.items())
    meaning = f"Spearman's rho over runs of {column} and the number of models ({means}); p two-sided, by permutation"
    # There is no interval: the test, which permutes runs, decides instead.
    finding = judge(claim, section, task, Number(rho), meaning, p_value=p)
    return replace(finding, verdict=verdict_by_test(rho, p))


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x, y)[0, 1])


def _own(one: Measured, variant: str, column: str) -> np.ndarray:
    chosen = one.scores[one.scores["own"] & (one.scores["variant"] == variant)]
    return chosen[column].to_numpy(dtype=np.float64)
