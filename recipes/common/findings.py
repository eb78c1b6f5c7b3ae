"""One claim with its number: does it hold, by how much, and would a prompt that learned nothing give the same?

A claim is a number that is above zero where it is right. It is judged task by task; over tasks, by the mean of the
tasks' numbers and Student's interval of it.

| verdict | when |
|---|---|
| holds | the whole 95 % interval is above zero; for a claim about training, that of trained minus random prompts too |
| does not hold | one of these intervals is below zero as a whole |
| undecided | an interval reaches over zero, or there is none: one repetition, or all gave the same number |
| not measured | there is no number, or the runs cannot show it (`meaning` says why) |
| matched | a setting was chosen so that the number comes out: no comparison |
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from recipes.common.verdicts import LEVEL, mean_with_interval, verdict_of, without_width

ALL_THE_SAME = "all repetitions gave the same number: no interval"
VERDICTS = ("holds", "undecided", "does not hold", "not measured", "matched")


@dataclass(frozen=True)
class Number:
    """A number with its 95 % interval; NaN where nothing is known of its spread."""

    value: float
    low: float = np.nan
    high: float = np.nan


NOTHING = Number(np.nan)


@dataclass(frozen=True)
class Finding:
    """One claim with its number; `meaning` says what the number is, `where` of which task (or over how many).

    `null` is the same number for prompts that learned nothing (random ones of the same norms, unless `meaning` says
    otherwise), `beyond` to `beyond_high` the trained prompt's number minus theirs, paired, `size` = beyond / |null| the
    size of that difference compared with what any prompt does. `p_value`: of the test that `meaning` names.
    """

    claim: str
    section: str
    where: str
    verdict: str
    number: float
    low: float
    high: float
    null: float
    beyond: float
    beyond_low: float
    beyond_high: float
    size: float
    p_value: float
    meaning: str


def judge(
    claim: str,
    section: str,
    where: str,
    number: Number,
    meaning: str,
    null: float = np.nan,
    beyond: Number | None = None,
    p_value: float = np.nan,
) -> Finding:
    """Return a finding with its verdict.

    A claim about training gives *null* and *beyond*, the paired difference to it; one about the frozen model, or about
    the prompts' geometry alone, does not. Where a *p_value* is given, it has to be below .05 as well. An interval of
    zero width (a bootstrap of equal numbers) counts as no interval: it is left out, and `meaning` says why.

    >>> few = judge("c", "4", "sst2", Number(0.4, 0.1, 0.7), "m", 0.39, Number(0.01, -0.1, 0.2))
    >>> few.verdict, judge("c", "4", "sst2", Number(0.4, 0.1, 0.7), "m").verdict
    ('undecided', 'holds')
    >>> same = judge("c", "4", "sst2", Number(0.5, 0.5, 0.5), "m")
    >>> same.verdict, same.meaning
    ('undecided', 'm; all repetitions gave the same number: no interval')
    """
    if without_width(number.low, number.high):
        number, meaning = Number(number.value), f"{meaning}; {ALL_THE_SAME}"
    if beyond is not None and without_width(beyond.low, beyond.high):
        beyond, meaning = Number(beyond.value), f"{meaning}; of the difference to the null: {ALL_THE_SAME}"
    verdict = verdict_of(number.value, number.low, number.high)
    if beyond is not None:
        verdict = worse(verdict, verdict_of(beyond.value, beyond.low, beyond.high))
    if verdict == "holds" and not np.isnan(p_value) and not p_value < LEVEL:
        verdict = "undecided"
    further = beyond or NOTHING
    size = further.value / abs(null) if null else np.nan
    return Finding(
        claim, section, where, verdict, number.value, number.low, number.high,
        null, further.value, further.low, further.high, size, p_value, meaning,
    )  # fmt: skip


def over_tasks(by_task: Sequence[Finding], what: str = "tasks") -> Finding:
    """Return what findings of the same claim on different tasks say of *other* tasks: means, Student's intervals.

    The verdict is `judge`'s of the means; fewer than two tasks have no interval, hence undecided.

    >>> by_task = [judge("c", "4", name, Number(x), "m") for name, x in (("a", 0.3), ("b", 0.31), ("c", 0.32))]
    >>> over_tasks(by_task).verdict
    'holds'
    """
    first = by_task[0]
    known = [one for one in by_task if np.isfinite(one.number)]
    number = Number(*mean_with_interval([one.number for one in known]))
    about_training = any(np.isfinite(one.beyond) for one in known)
    beyond = Number(*mean_with_interval([one.beyond for one in known])) if about_training else None
    null = float(np.mean([one.null for one in known])) if about_training else np.nan
    counts = ", ".join(f"{n} {verdict}" for verdict, n in tally(by_task).items() if n)
    meaning = f"mean over {len(known)} {what}, Student's interval over them; by task: {counts}"
    return judge(first.claim, first.section, f"over {len(known)} {what}", number, meaning, null, beyond)


def absent(claim: str, section: str, where: str, meaning: str) -> Finding:
    """Return a finding of a claim that these runs cannot decide; *meaning* says why."""
    return judge(claim, section, where, NOTHING, meaning)


def matched(finding: Finding, why: str) -> Finding:
    """Return the finding with the verdict `matched`: a setting, named by *why*, was chosen to give its number."""
    return replace(finding, verdict="matched", meaning=f"{finding.meaning}; matched: {why}")


def mean_of(numbers: Sequence[Number]) -> Number:
    """Return the mean of numbers of different inputs: their distances to the ends of the intervals add in squares.

    >>> both = mean_of([Number(1.0, 0.0, 2.0), Number(3.0, 2.0, 4.0)])
    >>> round(both.low, 3), round(both.high, 3)  # 2 -+ sqrt(1 + 1) / 2
    (1.293, 2.707)
    """
    if not numbers:
        return NOTHING
    mean = float(np.mean([one.value for one in numbers]))
    down = np.sqrt(np.square([one.value - one.low for one in numbers]).sum()) / len(numbers)
    up = np.sqrt(np.square([one.high - one.value for one in numbers]).sum()) / len(numbers)
    return Number(mean, mean - float(down), mean + float(up))


def worse(*verdicts: str) -> str:
    """Return the verdict of a claim that has several parts: all of them must hold.

    >>> worse("holds", "undecided"), worse("undecided", "does not hold")
    ('undecided', 'does not hold')
    """
    return next(one for one in ("not measured", "does not hold", "undecided", "holds", "matched") if one in verdicts)


def in_general(verdicts: Sequence[str]) -> str:
    """Return what the verdicts of several models say together of a claim: as bold as the most careful of them.

    `holds` or `does not hold` where every model says so; `depends on the model` where one says the one and one
    the other; `undecided` else. Few models are no sample of all models: `holds` means these ones.

    >>> in_general(["holds", "holds"]), in_general(["holds", "undecided"]), in_general(["holds", "does not hold"])
    ('holds', 'undecided', 'depends on the model')
    """
    said = set(verdicts)
    if len(said) == 1:
        return said.pop()
    return "depends on the model" if {"holds", "does not hold"} <= said else "undecided"


def finding_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """Return one line for each finding."""
    return pd.DataFrame([asdict(one) for one in findings])


def claim_summary(findings: Sequence[Finding]) -> pd.DataFrame:
    """Return the findings that a page shows: one line for each claim, over tasks or for the recipe as a whole."""
    whole = [one for one in findings if one.where.startswith(("over", "all"))]
    columns = ["claim", "section", "verdict", "number", "low", "high", "meaning"]
    return finding_table(whole)[columns] if whole else pd.DataFrame(columns=columns)


def tally(findings: Sequence[Finding] | pd.DataFrame) -> Mapping[str, int]:
    """Return how many findings have which verdict."""
    verdicts = findings["verdict"] if isinstance(findings, pd.DataFrame) else [one.verdict for one in findings]
    return {verdict: sum(one == verdict for one in verdicts) for verdict in VERDICTS}
