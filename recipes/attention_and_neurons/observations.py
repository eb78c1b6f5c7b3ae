"""The paper's seven main observations, each a function of results: does it hold here, by which number?

Two intervals, two verdicts. *Over inputs*: the tasks as they are, would other texts of them say the same? *Over tasks*
(Student's t): would other tasks? Each verdict is `holds` or `does not hold` where the number lies on the claim's side
or on the other with its whole 95 % interval (or p < 0.05), `undecided` where the interval reaches over or there is
none, and `not measured` where the results lack what it takes. Prompts alone, without inputs, decide observations 1 and
5: there the first verdict is the second.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import xarray as xr

from promptscope import ProbeResult
from recipes.attention_and_neurons import over_inputs
from recipes.common.findings import Number, mean_of
from recipes.common.verdicts import LEVEL, mean_with_interval, verdict_of


@dataclass(frozen=True)
class Observation:
    """One claim beside its number, which is above zero where the claim is right; `meaning` says what the number is.

    `low` and `high` end the interval over inputs, `tasks_low` and `tasks_high` that over tasks.
    """

    claim: str
    section: str
    verdict: str
    other_tasks: str
    number: float
    low: float
    high: float
    tasks_low: float
    tasks_high: float
    p_value: float
    meaning: str


def as_table(observations: Sequence[Observation]) -> pd.DataFrame:
    """Return one line for each observation."""
    return pd.DataFrame([asdict(one) for one in observations])


def clusters_by_task(v1: ProbeResult | None, v2: ProbeResult | None) -> Observation:
    """Deep prompts of one kind of task lie together, in both languages; input-level prompts do not.

    The number is v2's silhouette by kind of task, mean over layers, less v1's. The verdict asks besides that v2's be
    above what shuffled labels give (p, of the median layer) and v1's not.
    """
    claim, section = "v2 prompts cluster by task, v1 prompts do not", "4.2, Figures 1, 2, 9-11"
    meaning = "silhouette by task: v2, mean over layers, less v1; the interval is the range over layers"
    if v1 is None or v2 is None:
        return _absent(claim, section, meaning)
    deep, flat = v2.data["silhouette_task"].values, float(v1.data["silhouette_task"].values[0])
    number = float(np.mean(deep)) - flat
    p = float(np.median(v2.data["silhouette_task_p"].values))
    p_flat = float(v1.data["silhouette_task_p"].values[0])
    if np.isnan(number):
        return _absent(claim, section, meaning)
    verdict = "holds" if number > 0 and p < LEVEL <= p_flat else "undecided"
    spread = float(deep.min()) - flat, float(deep.max()) - flat
    return Observation(claim, section, verdict, verdict, number, *spread, np.nan, np.nan, p, meaning)


def low_layers_depend_less_on_content(variability: Mapping[str, ProbeResult]) -> Observation:
    """The plain model's lowest quarter of layers has lower attention variability than the others."""
    return _observed(
        "attention in low layers depends less on content",
        "4.3, Figures 3 and 12",
        [over_inputs.variability_above_the_lowest(result) for result in variability.values()],
        "attention variability: all other layers less the lowest quarter, mean over tasks",
    )


def v2_changes_the_middle(kl: Mapping[str, ProbeResult]) -> Observation:
    """The middle half of the layers has a larger share of v2's change of attention than of v1's."""
    return _observed(
        "v2 changes attention mid-depth, v1 far less",
        "4.3, Figures 4, 5, 13, 14",
        [over_inputs.share_of_the_middle(result) for result in kl.values()],
        "share of the summed KL that lies in the two middle quarters: v2 less v1, mean over tasks",
    )


def v2_changes_content_heads(kl: Mapping[str, ProbeResult], variability: Mapping[str, ProbeResult]) -> Observation:
    """v2 changes heads of high variability most in the second quarter of layers, and least in the last."""
    second, last = (
        [over_inputs.correlation_over_heads(kl[task], variability[task], quarter) for task in kl] for quarter in (1, -1)
    )
    claim, section = "v2 moves content heads mid-depth, others late", "4.3, Figure 6"
    both = [_observed(claim, section, numbers, "") for numbers in (second, [_less(number) for number in last])]
    r, of_last = ([float(np.tanh(end)) for end in (one.number, one.low, one.high)] for one in both)
    return replace(
        both[0],
        verdict=_worse([one.verdict for one in both]),
        other_tasks=_worse([one.other_tasks for one in both]),
        number=r[0],
        low=r[1],
        high=r[2],
        tasks_low=float(np.tanh(both[0].tasks_low)),
        tasks_high=float(np.tanh(both[0].tasks_high)),
        meaning="Pearson's r of variability and KL over heads, second quarter, mean over tasks by Fisher's z; last "
        f"quarter, where it should be negative: {-of_last[0]:.2f} [{-of_last[2]:.2f}, {-of_last[1]:.2f}]",
    )


def neurons_common_before_the_last(on: ProbeResult | None) -> Observation:
    """ON scores fall with depth, and rise again in the layer before the last.

    The number is the second-to-last layer's score less the lowest of the upper half before it, for v2, over pairs of
    tasks within a language, mean over languages.
    """
    claim, section = "deep neurons are task-specific, not before the last", "4.4, Figure 7"
    meaning = "v2's ON score: second-to-last layer less the lowest of the upper half before it; first layer {:.2f}"
    if on is None:
        return _absent(claim, section, meaning.format(np.nan))
    data = within_languages(on).sel(prompt="v2")
    curves = {name: data[name].mean("pairs", skipna=False).values for name in ("curve", "curve_low", "curve_high")}
    mean, n = curves["curve"], len(curves["curve"])
    before = range(n // 2, n - 2)
    if not before:
        return _absent(claim, section, meaning.format(mean[0]))
    lowest = min(before, key=lambda layer: mean[layer])
    number = float(mean[-2] - mean[lowest])
    # The two scores are of the same prompts, and their errors go together: this interval is too wide, not too narrow.
    low = float(curves["curve_low"][-2] - curves["curve_high"][lowest])
    high = float(curves["curve_high"][-2] - curves["curve_low"][lowest])
    verdict = verdict_of(number, low, high)
    about = meaning.format(mean[0])
    return Observation(claim, section, verdict, verdict, number, np.nan, np.nan, low, high, np.nan, about)


def within_languages(on: ProbeResult) -> xr.Dataset:
    """Return the numbers for pairs of tasks within a language, as in the paper; all pairs where there are none."""
    names = on.data["pairs"].values.tolist()
    return on.data.sel(pairs=[name for name in names if name != "across"] or names)


def leans_to_the_gold_label(cosines: Mapping[str, ProbeResult]) -> Observation:
    """In the last quarter of layers the decoding position is nearer to the gold label word than to another."""
    gaps = [result.data["gap"].sel(prompt="v2").values for result in cosines.values()]
    dip = mean_with_interval([(gap[-1] + gap[-3]) / 2 - gap[-2] for gap in gaps if len(gap) > 2])
    return _observed(
        "deep layers lean to the gold label word",
        "4.4, Figure 8",
        [over_inputs.gap_of_the_last_quarter(result) for result in cosines.values()],
        "cosine with the gold word less that with another, v2, last quarter of layers, mean over tasks; the gap's "
        f"dip in the second-to-last layer: {dip[0]:.3f} [{dip[1]:.3f}, {dip[2]:.3f}] over tasks",
    )


def peaks_beat_troughs(differences: Sequence[Number]) -> Observation:
    """Deep prompts in the layers of peaks score higher than those in the layers of troughs.

    *differences* holds one `over_inputs.difference_of_scores` for each task.
    """
    better = sum(one.value > 0 for one in differences)
    return _observed(
        "deep prompts work better in peaks than in troughs",
        "5, Table 2",
        differences,
        "score of the peak group less that of the trough group, percentage points, mean over tasks; better in "
        f"{better} of {len(differences)} tasks",
    )


def _observed(claim: str, section: str, numbers: Sequence[Number], meaning: str) -> Observation:
    numbers = [one for one in numbers if np.isfinite(one.value)]
    mean, tasks_low, tasks_high = mean_with_interval([one.value for one in numbers])
    over = mean_of(numbers)
    low, high = over.low, over.high
    other_tasks = verdict_of(mean, tasks_low, tasks_high)
    verdict = verdict_of(mean, low, high)
    return Observation(claim, section, verdict, other_tasks, mean, low, high, tasks_low, tasks_high, np.nan, meaning)


def _less(number: Number) -> Number:
    return Number(-number.value, -number.high, -number.low)


def _worse(verdicts: Sequence[str]) -> str:
    return next(one for one in ("not measured", "does not hold", "undecided", "holds") if one in verdicts)


def _absent(claim: str, section: str, meaning: str) -> Observation:
    verdict = "not measured"
    return Observation(claim, section, verdict, verdict, *(np.nan,) * 6, meaning)
