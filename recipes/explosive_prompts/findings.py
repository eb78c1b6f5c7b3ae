"""The paper's claims, and those it does not test, by task and over tasks."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from recipes.common import Finding, Number, judge, over_tasks
from recipes.common.grids import at_own_best_rate, paired
from recipes.common.verdicts import mean_with_interval
from recipes.explosive_prompts.control import STARTED, SWAPS, by_kind_of_rate
from recipes.explosive_prompts.methods import PLAIN, TOKENS

MARGIN = 0.02
"""A prompt "keeps" an accuracy that it does not fall below by more than two points."""


def findings(scores: pd.DataFrame, swaps: pd.DataFrame, steps: pd.DataFrame) -> list[Finding]:
    """Return every claim by task, over the seeds; then over tasks."""
    main = scores[scores["group"] == "main"]
    rates = scores[scores["group"].isin(["main", "rates"])]
    best = at_own_best_rate(rates)
    common = float(main["rate"].iloc[0])
    control = at_own_best_rate(by_kind_of_rate(scores[scores["group"] == "control"], common))
    both = pd.concat([best, control])
    claims: list[tuple[str, str, str, Callable[[str], Sequence[float]]]] = [
        (
            "EPT beats a plain prompt of one token, each at its own best rate",
            "5.1",
            "test score, EPT less the plain token, paired by seed; rates chosen on validation",
            lambda t: paired(best, "EPT", PLAIN, t),
        ),
        (
            "EPT's one vector beats ten plain ones, each at its own best rate",
            "5.1",
            "test score, EPT less PT of the long length",
            lambda t: paired(best, "EPT", "PT", t),
        ),
        (
            "one broadcast vector keeps the accuracy of as many different ones",
            "3.3",
            f"test score, EPT* less EPT's network over as many vectors, plus {MARGIN}: above zero, within two points",
            lambda t: [x + MARGIN for x in paired(main, "EPT*", TOKENS, t)],
        ),
        (
            "broadcasting EPT's vector helps",
            "5.1",
            "test score, EPT* less EPT",
            lambda t: paired(main, "EPT*", "EPT", t),
        ),
        (
            "a plain prompt gains by starting at EPT's norm",
            "control",
            "test score, plain token started in a random direction at EPT's norm less one started as usual, best rates",
            lambda t: paired(both, STARTED, PLAIN, t),
        ),
        (
            "EPT is more than its norm",
            "control",
            "test score, EPT less the plain token that started at EPT's norm, own best rates",
            lambda t: paired(both, "EPT", STARTED, t),
        ),
        (
            "a trained plain direction gains by EPT's norm",
            "control",
            "test score, plain token rescaled to EPT's norm less the same as trained; no further training",
            lambda t: paired(swaps, SWAPS[0], PLAIN, t),
        ),
        (
            "EPT's direction needs its norm",
            "control",
            "test score, EPT less EPT rescaled to the plain token's norm",
            lambda t: paired(swaps, "EPT", SWAPS[1], t),
        ),
        (
            "EPT's direction matters at its norm",
            "control",
            "test score, EPT less a random direction of its norm",
            lambda t: paired(swaps, "EPT", SWAPS[2], t),
        ),
        (
            "EPT is less sensitive to the learning rate than many plain tokens",
            "5.3",
            "range of the test score over rates, PT less EPT, by seed",
            lambda t: _ranges(rates, "PT", "EPT", t),
        ),
        (
            "EPT is less sensitive to the learning rate than one plain token",
            "control",
            "range of the test score over rates, plain token less EPT, by seed",
            lambda t: _ranges(rates, PLAIN, "EPT", t),
        ),
        (
            "EPT's step grows with its norm, as two linear maps predict",
            "control",
            "slope of log(measured step) on log(norm) over snapshots, by seed; about 0.5, as both maps grow",
            lambda t: _slopes(steps, t),
        ),
    ]
    found: list[Finding] = []
    tasks = list(main["task"].unique())
    growths = [_growth(main, task) for task in tasks]
    found += [*growths, over_tasks(growths)]
    for claim, section, meaning, numbers in claims:
        by_task = [judge(claim, section, task, _over(numbers(task)), meaning) for task in tasks]
        found += [*by_task, over_tasks(by_task)]
    return found


def _growth(main: pd.DataFrame, task: str) -> Finding:
    grown = main.assign(growth=np.log(main["norm_end"] / main["norm_start"]))
    of_task = grown[grown["task"] == task]
    ept = of_task[of_task["variant"] == "EPT"]["growth"].tolist()
    plain = of_task[of_task["variant"] == PLAIN]["growth"].tolist()
    beyond = _over(paired(grown, "EPT", PLAIN, task, "growth"))
    return judge(
        "the norm of EPT's vector grows", "3.2", task, _over(ept),
        "log of the norm after the last step over that after the first; null: the plain token's, same steps and rate",
        float(np.mean(plain)) if plain else np.nan, beyond,
    )  # fmt: skip


def _over(values: Sequence[float]) -> Number:
    return Number(*mean_with_interval(values))


def _ranges(scores: pd.DataFrame, first: str, second: str, task: str) -> list[float]:
    of_task = scores[scores["task"] == task]
    if of_task["rate"].nunique() < 2:
        return []  # one rate has no range
    spread = of_task.groupby(["variant", "seed"])["score"].agg(np.ptp)
    seeds = of_task["seed"].unique()
    known = [s for s in seeds if (first, s) in spread.index and (second, s) in spread.index]
    return [float(spread[first, s] - spread[second, s]) for s in known]


def _slopes(steps: pd.DataFrame, task: str) -> list[float]:
    slopes = []
    for _, part in steps[steps["task"] == task].groupby("seed"):
        x, y = np.log(part["norm"]), np.log(part["measured"].clip(lower=1e-12))
        if len(part) > 2 and x.std() > 0:
            slopes.append(float(np.polyfit(x, y, 1)[0]))
    return slopes
