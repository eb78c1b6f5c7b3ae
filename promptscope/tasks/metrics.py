"""Metrics by name. For all of them higher is better; correlations are in [-1, 1], all others in [0, 1]."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from promptscope.errors import TaskError, nearest, shortened
from promptscope.tasks.answers import best, korquad_f1, korquad_normalise, mrqa_f1, squad_f1, squad_normalise
from promptscope.tasks.inflections import mentions
from promptscope.tasks.records import Record

Scores = dict[str, float]
References = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Metric:
    """A named metric that compares predictions with references; higher is better.

    - `needs`: the kind of a prediction: "labels" (the label with the best score), "text" (generated text) or "score" (a
      number);
    - `fn(predictions, references)`: takes one prediction and one sequence of accepted answers for each record, and
      returns scores by name;
    - `field`: the record's field with the accepted answers; None for `Record.references`.

    >>> records = [Record("a", {}, "good", ("good",)), Record("b", {}, "bad", ("bad",))]
    >>> METRICS["accuracy"].score(["good", "good"], records)
    {'accuracy': 0.5}
    """

    name: str
    needs: Literal["labels", "text", "score"]
    fn: Callable[[Sequence[Any], References], Scores]
    field: str | None = None

    def score(self, predictions: Sequence[Any], records: Sequence[Record]) -> Scores:
        """Return the metric's scores, by name, for one prediction of each record.

        Raises:
            TaskError: there are no records or another number of predictions, or a record lacks the field with
                references.
        """
        if len(predictions) != len(records) or not records:
            raise TaskError(
                f"Metric {self.name!r} needs at least one record, and one prediction for each, got "
                f"{len(predictions)} for {len(records)}."
            )
        if self.needs != "score" and (others := [one for one in predictions if not isinstance(one, str)]):
            raise TaskError(
                f"Metric {self.name!r} needs predictions that are texts, got {shortened(repr(others[0]))} "
                f"({type(others[0]).__name__}): give the label or the generated text as a string."
            )
        return self.fn(predictions, [self._references(record) for record in records])

    def _references(self, record: Record) -> Sequence[str]:
        if self.field is None:
            return record.references
        if self.field not in record.fields:
            raise TaskError(
                f"Metric {self.name!r} needs the field {self.field!r}, which record {record.id!r} does not have; its "
                f"fields are {', '.join(map(repr, record.fields))}. Rename the column, or choose another metric."
            )
        values = record.fields[self.field]
        if not isinstance(values, list):  # of a text, the letters would be taken
            raise TaskError(
                f"Metric {self.name!r} needs a list of strings in the field {self.field!r}, got "
                f"{shortened(repr(values))} in record {record.id!r}."
            )
        return [str(value) for value in values]


def get_metrics(names: str | Iterable[str]) -> tuple[Metric, ...]:
    """Return metrics by their names.

    Raises:
        TaskError: a name is unknown.

    >>> [metric.name for metric in get_metrics(["accuracy", "macro_f1"])]
    ['accuracy', 'macro_f1']
    """
    wanted = (names,) if isinstance(names, str) or not isinstance(names, Iterable) else tuple(names)
    for name in wanted:
        if not isinstance(name, str):
            raise TaskError(
                f"A metric must be a name such as 'accuracy', got {name!r}. The metrics are {', '.join(METRICS)}."
            )
        if name not in METRICS:
            raise TaskError(f"No metric is called {name!r}; there are {', '.join(METRICS)}." + nearest(name, METRICS))
    return tuple(METRICS[name] for name in wanted)


def _first(references: References) -> list[str]:
    return [reference[0] for reference in references]


def _accuracy(predictions: Sequence[Any], references: References) -> Scores:
    return {"accuracy": float(accuracy_score(_first(references), list(predictions)))}


def _macro_f1(predictions: Sequence[Any], references: References) -> Scores:
    f1 = f1_score(_first(references), list(predictions), average="macro", zero_division=0)
    return {"macro_f1": float(f1)}


def _binary_f1(predictions: Sequence[Any], references: References) -> Scores:
    gold = _first(references)
    if others := sorted({*gold, *predictions} - {"True", "False"}):  # none of them would count as true
        raise TaskError(
            f"Metric 'binary_f1' needs the labels 'True' and 'False', got {others[0]!r}: rename the labels, or use "
            "'macro_f1'."
        )
    true = [label == "True" for label in gold]
    return {"binary_f1": float(f1_score(true, [label == "True" for label in predictions], zero_division=0))}


def _matthews(predictions: Sequence[Any], references: References) -> Scores:
    gold = _first(references)
    if len({*gold, *predictions}) < 2:  # scikit-learn says 0 too, with a warning about the matrix's shape
        return {"matthews": 0.0}
    return {"matthews": float(matthews_corrcoef(gold, list(predictions)))}


def _pearson(predictions: Sequence[Any], references: References) -> Scores:
    x, y = _numbers(predictions), _numbers(_first(references))
    if not np.isfinite(y).all():
        wrong = _first(references)[int(np.flatnonzero(~np.isfinite(y))[0])]
        raise TaskError(f"Metric 'pearson' needs labels that are numbers, got {wrong!r}.")
    # A generated text may be no number: how many were is part of the result.
    read = np.isfinite(x)
    x, y = x[read], y[read]
    if len(x):
        x, y = x - x.mean(), y - y.mean()
    norm = np.sqrt((x @ x) * (y @ y))
    # undefined for constant values: report that rather than a number
    return {"pearson": float(x @ y / norm) if norm > 0 else float("nan"), "pearson_read": float(read.mean())}


def _numbers(predictions: Sequence[Any]) -> np.ndarray:
    """Return predictions as numbers; those that are not numbers are NaN."""
    return np.asarray(pd.to_numeric(pd.Series(list(predictions)), errors="coerce"), dtype=float)


def _mean(values: Iterable[float]) -> float:
    return float(np.mean([float(value) for value in values]))


def _exact_match(predictions: Sequence[Any], references: References) -> Scores:
    hits = (
        prediction.strip() in {answer.strip() for answer in answers}
        for prediction, answers in zip(predictions, references, strict=True)
    )
    return {"exact_match": _mean(hits)}


def _starts_with(predictions: Sequence[Any], references: References) -> Scores:
    hits = (
        any(_begins(prediction.strip(), answer.strip()) for answer in answers)
        for prediction, answers in zip(predictions, references, strict=True)
    )
    return {"starts_with": _mean(hits)}


def _begins(prediction: str, answer: str) -> bool:
    return prediction.startswith(answer) if answer else not prediction  # all texts begin with no answer


def _squad(predictions: Sequence[Any], references: References) -> Scores:
    exact, f1, answerable = [], [], []
    for prediction, answers in zip(predictions, references, strict=True):
        gold = [answer for answer in answers if squad_normalise(answer)] or [""]
        exact.append(best(lambda p, a: squad_normalise(p) == squad_normalise(a), prediction, gold))
        f1.append(best(squad_f1, prediction, gold))
        answerable.append(any(answers))
    scores = {"squad_exact": _mean(exact), "squad_f1": _mean(f1)}
    for name, wanted in (("has_answer", True), ("no_answer", False)):
        if wanted in answerable:
            chosen = [value for value, has in zip(f1, answerable, strict=True) if has is wanted]
            scores[f"squad_f1_{name}"] = _mean(chosen)
    return scores


def _mrqa(predictions: Sequence[Any], references: References) -> Scores:
    pairs = list(zip(predictions, references, strict=True))
    return {
        "mrqa_f1": _mean(best(mrqa_f1, prediction, answers) for prediction, answers in pairs),
        "mrqa_exact": _mean(
            best(lambda p, a: squad_normalise(p) == squad_normalise(a), prediction, answers)
            for prediction, answers in pairs
        ),
    }


def _korquad(predictions: Sequence[Any], references: References) -> Scores:
    pairs = list(zip(predictions, references, strict=True))
    return {
        "korquad_exact": _mean(
            best(lambda p, a: korquad_normalise(p) == korquad_normalise(a), prediction, answers)
            for prediction, answers in pairs
        ),
        "korquad_f1": _mean(best(korquad_f1, prediction, answers) for prediction, answers in pairs),
    }


def _coverage(predictions: Sequence[Any], references: References) -> Scores:
    shares = (
        _mean(mentions(prediction, concept) for concept in dict.fromkeys(concepts))
        for prediction, concepts in zip(predictions, references, strict=True)
    )
    return {"coverage": _mean(shares)}


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "labels", _accuracy),
        Metric("macro_f1", "labels", _macro_f1),
        Metric("binary_f1", "labels", _binary_f1),
        Metric("matthews", "labels", _matthews),
        Metric("pearson", "score", _pearson),
        Metric("exact_match", "text", _exact_match),
        Metric("starts_with", "text", _starts_with),
        Metric("squad", "text", _squad),
        Metric("korquad", "text", _korquad),
        Metric("mrqa", "text", _mrqa),
        Metric("coverage", "text", _coverage, field="concepts"),
    )
}
"""The metrics by name; all are higher = better."""
