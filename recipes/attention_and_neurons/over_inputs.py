"""Numbers of single tasks with intervals over their inputs: would other texts of the same task say the same?

Each number is computed for the trained prompts and for random prompts of their norms, with the difference of the two.
Inputs are resampled in pairs: trained and random prompts have read the same ones.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

import promptscope as ps
from promptscope.statistics import bootstrap_interval, jackknife_interval, layer_quarters, mean_interval
from promptscope.tasks import get_metrics
from recipes.common import Number
from recipes.common.findings import NOTHING

RESAMPLES = 500


@dataclass(frozen=True)
class Compared:
    """A number computed for trained prompts, the same for random ones, and the first minus the second."""

    number: Number
    null: float = np.nan
    beyond: Number = NOTHING


def variability_above_the_lowest(variability: ps.ProbeResult) -> Number:
    """Attention variability, mean over heads: all layers but the lowest quarter, minus the lowest quarter."""

    def difference(heads: np.ndarray) -> np.ndarray:
        curves = heads.mean(axis=-1)
        lowest = layer_quarters(curves.shape[-1])[0]
        return np.asarray(np.delete(curves, lowest, axis=-1).mean(axis=-1) - curves[..., lowest].mean(axis=-1))

    value = difference(variability.values.transpose("layer", "head").values)
    if "without" not in variability.data:
        return Number(float(value))
    low, high = jackknife_interval(value, difference(variability.data["without"].values))
    return Number(float(value), float(low), float(high))


def share_of_the_middle(kl: ps.ProbeResult) -> Compared:
    """Share of the KL, summed over layers, that belongs to the two middle quarters: v2's minus v1's."""
    curves = {
        prompt: kl.data["per_example"].sel(prompt=prompt).transpose("example", "layer", "head").mean("head").values
        for prompt in kl.data["prompt"].values.tolist()
    }
    n, n_layers = curves["v1"].shape
    _, *middle, _ = _four(n_layers)

    def share(weights: np.ndarray, prompt: str) -> np.ndarray:
        curve = weights @ curves[prompt].astype(np.float64)
        return np.asarray(curve[:, np.concatenate(middle)].sum(axis=1) / curve.sum(axis=1))

    return _compared(lambda weights, null: share(weights, f"{null}v2") - share(weights, f"{null}v1"), n)


def correlation_over_heads(
    kl: ps.ProbeResult, variability: ps.ProbeResult, quarter: int, sign: Literal[1, -1] = 1
) -> Compared:
    """Pearson's r, times *sign*, between v2's KL and variability over the heads of a quarter of the layers.

    The interval comes from resampling the inputs of the KL; the variability is not resampled.
    """
    layers = layer_quarters(variability.data.sizes["layer"])[quarter]
    base = variability.values.transpose("layer", "head").values[layers].ravel()
    if len(base) < 3 or np.ptp(base) == 0:
        return Compared(Number(np.nan))
    centred = (base - base.mean()) / np.linalg.norm(base - base.mean())
    of_prompt = kl.data["per_example"].transpose("prompt", "example", "layer", "head")

    def r(weights: np.ndarray, null: str) -> np.ndarray:
        heads = of_prompt.sel(prompt=f"{null}v2").values[:, layers]
        means = weights @ heads.reshape(len(heads), -1).astype(np.float64)
        means = means - means.mean(axis=1, keepdims=True)
        return np.asarray(sign * (means @ centred) / np.linalg.norm(means, axis=1))

    return _compared(r, of_prompt.sizes["example"])


def gap_of_the_last_quarter(cosines: ps.ProbeResult) -> Compared:
    """Cosine with the gold label word minus that with another one, v2, mean over the last quarter of the layers."""

    def gaps(prompt: str) -> np.ndarray:
        words = cosines.data["per_example"].sel(prompt=prompt).transpose("example", "word", "layer")
        values = words.values.astype(np.float64)
        return np.asarray((values[:, 0] - values[:, 1])[:, layer_quarters(values.shape[-1])[-1]].mean(axis=1))

    trained, random = gaps("v2"), gaps("random v2")
    return Compared(_mean(trained), float(random.mean()), _mean(trained - random))


def difference_of_scores(task: ps.Task, metric: str, answers: Mapping[str, Sequence[Sequence[str]]]) -> Compared:
    """Score of the answers of `peak` minus that of `trough`, percentage points, mean over seeds.

    *answers*: for `peak`, `trough`, `random peak` and `random trough` one list per seed, with an answer to each record
    of the test split. Records are resampled, with all answers to a record kept together. There is no interval for
    metrics that are neither F1 nor means over records.
    """
    if metric in ("matthews", "pearson"):
        known = {
            name: float(np.mean([task.score(of_seed, "test")[metric] for of_seed in seeds]))
            for name, seeds in answers.items()
        }
        found = 100 * (known["peak"] - known["trough"])
        null = 100 * (known["random peak"] - known["random trough"])
        return Compared(Number(found), null, Number(found - null))
    scores = {
        name: [_score_of_resamples(task, metric, of_seed) for of_seed in seeds] for name, seeds in answers.items()
    }

    def difference(weights: np.ndarray, null: str) -> np.ndarray:
        peak, trough = (
            np.mean([score(weights) for score in scores[f"{null}{name}"]], axis=0) for name in ("peak", "trough")
        )
        return np.asarray(100 * (peak - trough))

    return _compared(difference, len(answers["peak"][0]))


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


def _compared(estimate: Callable[[np.ndarray, str], np.ndarray], n: int) -> Compared:
    """Return *estimate* for trained prompts (second argument "") and for random ones ("random "), paired by input."""
    trained, beyond = (
        _bootstrapped(of, n) for of in (lambda w: estimate(w, ""), lambda w: estimate(w, "") - estimate(w, "random "))
    )
    return Compared(trained, trained.value - beyond.value, beyond)


def _bootstrapped(estimate: Callable[[np.ndarray], np.ndarray], n: int) -> Number:
    low, high = bootstrap_interval(estimate, n, n_resamples=RESAMPLES)
    return Number(float(estimate(np.full((1, n), 1 / n))[0]), float(low), float(high))


def _mean(values: np.ndarray) -> Number:
    low, high = mean_interval(values)
    return Number(float(values.mean()), float(low), float(high))


def _four(n_layers: int) -> list[np.ndarray]:
    return np.array_split(np.arange(n_layers), 4)
