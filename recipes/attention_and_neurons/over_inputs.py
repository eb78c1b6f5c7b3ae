"""Numbers of single tasks with intervals over their inputs: would other texts of the same task say the same?"""

from collections.abc import Callable, Sequence

import numpy as np

import promptscope as ps
from promptscope.statistics import bootstrap_interval, jackknife_interval, layer_quarters, mean_interval
from promptscope.tasks.metrics import get_metrics
from recipes.common import Number

RESAMPLES = 500
_ONE = 1 - 1e-9  # r of exactly 1 has no z


def variability_above_the_lowest(variability: ps.ProbeResult) -> Number:
    """Attention variability, mean over heads: all layers but the lowest quarter, less the lowest quarter."""

    def difference(heads: np.ndarray) -> np.ndarray:
        curves = heads.mean(axis=-1)
        lowest = layer_quarters(curves.shape[-1])[0]
        return np.asarray(np.delete(curves, lowest, axis=-1).mean(axis=-1) - curves[..., lowest].mean(axis=-1))

    value = difference(variability.values.transpose("layer", "head").values)
    if "without" not in variability.data:
        return Number(float(value))
    low, high = jackknife_interval(value, difference(variability.data["without"].values))
    return Number(float(value), float(low), float(high))


def share_of_the_middle(kl: ps.ProbeResult) -> Number:
    """Share of the KL, summed over layers, that lies in the two middle quarters: v2's less v1's."""
    curves = {
        variant: kl.data["per_example"].sel(prompt=variant).transpose("example", "layer", "head").mean("head").values
        for variant in ("v1", "v2")
    }
    _, *middle, _ = _four(curves["v1"].shape[1])

    def difference(weights: np.ndarray) -> np.ndarray:
        shares = {}
        for variant, of_inputs in curves.items():
            curve = weights @ of_inputs.astype(np.float64)
            shares[variant] = curve[:, np.concatenate(middle)].sum(axis=1) / curve.sum(axis=1)
        return np.asarray(shares["v2"] - shares["v1"])

    return _bootstrapped(difference, len(curves["v1"]))


def correlation_over_heads(kl: ps.ProbeResult, variability: ps.ProbeResult, quarter: int) -> Number:
    """Fisher's z of Pearson's r between v2's KL and variability over the heads of a quarter of the layers.

    The interval is over the inputs of the KL; the variability is taken as it is.
    """
    layers = layer_quarters(variability.data.sizes["layer"])[quarter]
    base = variability.values.transpose("layer", "head").values[layers].ravel()
    heads = kl.data["per_example"].sel(prompt="v2").transpose("example", "layer", "head").values[:, layers]
    of_inputs = heads.reshape(len(heads), -1).astype(np.float64)
    if len(base) < 3 or np.ptp(base) == 0:
        return Number(np.nan)

    centred = (base - base.mean()) / np.linalg.norm(base - base.mean())

    def z(weights: np.ndarray) -> np.ndarray:
        means = weights @ of_inputs
        means = means - means.mean(axis=1, keepdims=True)
        return np.arctanh(np.clip(means @ centred / np.linalg.norm(means, axis=1), -_ONE, _ONE))

    return _bootstrapped(z, len(of_inputs))


def gap_of_the_last_quarter(cosines: ps.ProbeResult) -> Number:
    """Cosine with the gold label word less that with another one, v2, mean over the last quarter of the layers."""
    words = cosines.data["per_example"].sel(prompt="v2").transpose("example", "word", "layer").values.astype(np.float64)
    gaps = (words[:, 0] - words[:, 1])[:, layer_quarters(words.shape[-1])[-1]].mean(axis=1)
    low, high = mean_interval(gaps)
    return Number(float(gaps.mean()), float(low), float(high))


def difference_of_scores(
    task: ps.Task, metric: str, first: Sequence[Sequence[str]], second: Sequence[Sequence[str]]
) -> Number:
    """Score of the *first* answers less that of the *second*, percentage points, mean over seeds.

    Each is a list, one for each seed, of answers to the records of the test split, which are resampled: both answers
    to a record stay together. Without an interval for metrics that are neither F1 nor means over records.
    """
    if metric in ("matthews", "pearson"):
        scores = [np.mean([task.score(answers, "test")[metric] for answers in seeds]) for seeds in (first, second)]
        return Number(100 * float(scores[0] - scores[1]))
    better, worse = ([_score_of_resamples(task, metric, answers) for answers in seeds] for seeds in (first, second))

    def difference(weights: np.ndarray) -> np.ndarray:
        means = [np.mean([score(weights) for score in seeds], axis=0) for seeds in (better, worse)]
        return np.asarray(100 * (means[0] - means[1]))

    return _bootstrapped(difference, len(first[0]))


def _score_of_resamples(task: ps.Task, metric: str, answers: Sequence[str]) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from weights of the records (R, X) to scores (R)."""
    records = task.split("test")[: len(answers)]
    labels, given = np.array([str(record.label) for record in records]), np.array(answers)
    if metric == "macro_f1":
        return lambda weights: macro_f1(weights, labels, given)
    if metric == "accuracy":
        return lambda weights: weights @ (labels == given)
    of_record = np.empty(len(records))
    for i, (answer, record) in enumerate(zip(answers, records, strict=True)):
        found: dict[str, float] = {}
        for measure in get_metrics(task.metrics):
            found |= measure.score([answer], [record])
        of_record[i] = found[metric]
    return lambda weights: weights @ of_record


def macro_f1(weights: np.ndarray, gold: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Return the mean F1 over the labels that occur, for each row of weights (R, X): one score for each resample.

    >>> gold, answers = np.array(["a", "a", "b"]), np.array(["a", "b", "b"])
    >>> macro_f1(np.full((1, 3), 1 / 3), gold, answers).round(4).tolist()
    [0.6667]
    """
    scores, occur = [], []
    for label in np.unique(np.concatenate([gold, answers])):
        both = weights @ ((gold == label) & (answers == label))
        either = weights @ (gold == label) + weights @ (answers == label)
        scores.append(np.divide(2 * both, either, out=np.zeros_like(both), where=either > 0))
        occur.append(either > 0)
    return np.asarray(np.sum(scores, axis=0) / np.sum(occur, axis=0))


def _bootstrapped(estimate: Callable[[np.ndarray], np.ndarray], n: int) -> Number:
    low, high = bootstrap_interval(estimate, n, n_resamples=RESAMPLES)
    return Number(float(estimate(np.full((1, n), 1 / n))[0]), float(low), float(high))


def _four(n_layers: int) -> list[np.ndarray]:
    return np.array_split(np.arange(n_layers), 4)
