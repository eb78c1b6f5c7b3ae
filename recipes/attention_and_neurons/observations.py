"""The paper's seven main observations, each a function of results: does it hold here, by which number?

The verdict is `holds` where the number lies on the claim's side with its whole 95 % interval (or p < 0.05),
`undecided` where the interval reaches over, `does not hold` where the number lies on the other side, and `not measured`
where the results lack what it takes. Intervals are over tasks (Student's t): would other tasks say the same?
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import t as student

from promptscope import ProbeResult
from promptscope.statistics import layer_quarters

LEVEL = 0.05
_ONE = 1 - 1e-9  # r of exactly 1 has no z


@dataclass(frozen=True)
class Observation:
    """One claim beside its number, which is above zero where the claim is right; `meaning` says what the number is."""

    claim: str
    section: str
    verdict: str
    number: float
    low: float
    high: float
    p_value: float
    meaning: str


def as_table(observations: Sequence[Observation]) -> pd.DataFrame:
    """Return one line for each observation."""
    return pd.DataFrame([asdict(one) for one in observations])


def over_tasks(numbers: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """Return the mean over tasks with its 95 % interval, `mean -+ t se`; NaN for a single task.

    >>> mean, low, high = over_tasks([1.0, 2.0, 3.0])
    >>> mean, round(low, 2), round(high, 2)
    (2.0, -0.48, 4.48)
    """
    values = np.asarray(numbers, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return np.nan, np.nan, np.nan
    mean = float(values.mean())
    if len(values) < 2:
        return mean, np.nan, np.nan
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def verdict_of(number: float, low: float) -> str:
    """Return what a number says of the claim that it lies above zero; *low* ends its interval.

    >>> verdict_of(0.4, 0.1), verdict_of(0.4, -0.1), verdict_of(-0.4, -0.6), verdict_of(float("nan"), 0.0)
    ('holds', 'undecided', 'does not hold', 'not measured')
    """
    if np.isnan(number):
        return "not measured"
    if number <= 0:
        return "does not hold"
    return "holds" if low > 0 else "undecided"


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
    verdict = "holds" if number > 0 and p < LEVEL <= p_flat else "undecided" if number > 0 else "does not hold"
    return Observation(claim, section, verdict, number, float(deep.min()) - flat, float(deep.max()) - flat, p, meaning)


def low_layers_depend_less_on_content(variability: Mapping[str, ProbeResult]) -> Observation:
    """The plain model's lowest quarter of layers has lower attention variability than the others."""
    differences = []
    for result in variability.values():
        curve = result.values.mean("head").values
        lowest = layer_quarters(len(curve))[0]
        differences.append(np.delete(curve, lowest).mean() - curve[lowest].mean())
    return _observed(
        "attention in the lower layers depends less on content",
        "4.3, Figures 3 and 12",
        over_tasks(differences),
        "attention variability: all other layers less the lowest quarter, mean over tasks",
    )


def v2_changes_the_middle(kl: Mapping[str, ProbeResult]) -> Observation:
    """The middle half of the layers has a larger share of v2's change of attention than of v1's."""
    differences = []
    for result in kl.values():
        curves = {variant: result.values.sel(prompt=variant).mean("head").values for variant in ("v1", "v2")}
        _, low, high, _ = _four(len(curves["v1"]))
        middle = [*low, *high]
        shares = {variant: curve[middle].sum() / curve.sum() for variant, curve in curves.items()}
        differences.append(shares["v2"] - shares["v1"])
    return _observed(
        "v2 changes attention in the middle layers, v1 far less",
        "4.3, Figures 4, 5, 13, 14",
        over_tasks(differences),
        "share of the summed KL that lies in the two middle quarters: v2 less v1, mean over tasks",
    )


def v2_changes_content_heads(correlations: Mapping[str, ProbeResult]) -> Observation:
    """v2 changes heads of high variability most in the second quarter of layers, and least in the last."""
    second, last = (_mean_correlation(correlations, quarter) for quarter in (1, -1))
    claim = "v2 changes content-dependent heads in the second quarter, others in the last"
    meaning = (
        "Pearson's r of variability and KL over heads, second quarter, mean over tasks; "
        f"last quarter: {last[0]:.2f} [{last[1]:.2f}, {last[2]:.2f}]"
    )
    if np.isnan(second[0]) or np.isnan(last[0]):
        return _absent(claim, "4.3, Figure 6", meaning)
    both = (verdict_of(second[0], second[1]), verdict_of(-last[0], -last[2]))
    verdict = next((worse for worse in ("does not hold", "undecided") if worse in both), "holds")
    return Observation(claim, "4.3, Figure 6", verdict, *second, np.nan, meaning)


def neurons_common_before_the_last(on: ProbeResult | None) -> Observation:
    """ON scores fall with depth, and rise again in the layer before the last.

    The number is the second-to-last layer's score less the lowest of the upper half before it, for v2, over pairs of
    tasks within a language, mean over languages.
    """
    claim, section = "neurons are task-specific in deep layers, but common in the second-to-last", "4.4, Figure 7"
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
    verdict = verdict_of(number, low)
    return Observation(claim, section, verdict, number, low, high, np.nan, meaning.format(mean[0]))


def within_languages(on: ProbeResult) -> xr.Dataset:
    """Return the numbers for pairs of tasks within a language, as in the paper; all pairs where there are none."""
    names = on.data["pairs"].values.tolist()
    return on.data.sel(pairs=[name for name in names if name != "across"] or names)


def leans_to_the_gold_label(cosines: Mapping[str, ProbeResult]) -> Observation:
    """In the last quarter of layers the decoding position is nearer to the gold label word than to another."""
    gaps, dips = [], []
    for result in cosines.values():
        gap = result.data["gap"].sel(prompt="v2").values
        last = layer_quarters(len(gap))[-1]
        gaps.append(gap[last].mean())
        if len(gap) > 2:
            dips.append((gap[-1] + gap[-3]) / 2 - gap[-2])
    dip = over_tasks(dips)
    return _observed(
        "deep layers lean to the gold label word, less so in the second-to-last",
        "4.4, Figure 8",
        over_tasks(gaps),
        "cosine with the gold word less that with another, v2, last quarter of layers, mean over tasks; the gap's "
        f"dip in the second-to-last layer: {dip[0]:.3f} [{dip[1]:.3f}, {dip[2]:.3f}]",
    )


def peaks_beat_troughs(scores: pd.DataFrame) -> Observation:
    """Deep prompts in the layers of peaks score higher than those in the layers of troughs.

    *scores* is `first_metric`: tasks down, variants across, percent.
    """
    claim, section = "deep prompts work better in peak layers than in trough layers", "5, Table 2"
    meaning = "score of the peak group less that of the trough group, percentage points, mean over tasks"
    if not {"peak", "trough"} <= set(scores.columns):
        return _absent(claim, section, meaning)
    differences = (scores["peak"] - scores["trough"]).dropna()
    better = f"; better in {int((differences > 0).sum())} of {len(differences)} tasks"
    return _observed(claim, section, over_tasks(differences.to_numpy()), meaning + better)


def _mean_correlation(correlations: Mapping[str, ProbeResult], quarter: int) -> tuple[float, float, float]:
    """Return r of v2, mean over tasks with its interval, by way of Fisher's z, which is what averages."""
    r = [result.values.sel(prompt="v2").values[quarter] for result in correlations.values()]
    mean, low, high = over_tasks(np.arctanh(np.clip(np.asarray(r, dtype=np.float64), -_ONE, _ONE)))
    return float(np.tanh(mean)), float(np.tanh(low)), float(np.tanh(high))


def _four(n_layers: int) -> list[list[int]]:
    return [part.tolist() for part in np.array_split(np.arange(n_layers), 4)]


def _observed(claim: str, section: str, numbers: tuple[float, float, float], meaning: str) -> Observation:
    return Observation(claim, section, verdict_of(numbers[0], numbers[1]), *numbers, np.nan, meaning)


def _absent(claim: str, section: str, meaning: str) -> Observation:
    return Observation(claim, section, "not measured", np.nan, np.nan, np.nan, np.nan, meaning)
