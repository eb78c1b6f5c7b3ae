"""Answers to classification tasks in words that the model writes itself, as the paper scores them."""

from collections.abc import Sequence
from dataclasses import replace

from sklearn.metrics import f1_score

import promptscope as ps

NO_LABEL = "(no label)"


def written(task: ps.Task) -> ps.Task:
    """Return a classification task as a generation task, in which the label's word is the right answer."""
    assert task.verbalizer is not None
    words = task.verbalizer.words
    splits = {
        name: tuple(replace(record, label=words[record.label or ""]) for record in records)
        for name, records in task.splits.items()
    }
    return replace(task, verbalizer=None, splits=splits, metrics=("exact_match",), source=None)


def as_labels(task: ps.Task, texts: Sequence[str]) -> list[str]:
    """Return for each text the label whose word it is (without surrounding spaces), or `(no label)`."""
    assert task.verbalizer is not None
    labels = {word.strip(): label for label, word in task.verbalizer.words.items()}
    return [labels.get(text.strip(), NO_LABEL) for text in texts]


def score_labels(task: ps.Task, labels: Sequence[str]) -> dict[str, float]:
    """Return the task's metrics; an answer that is no label is wrong, and is no class of its own in the macro F1."""
    scores = task.score(labels, "test")
    gold = [record.label or "" for record in task.split("test")[: len(labels)]]
    if "macro_f1" in scores:
        occur = sorted({*gold, *labels} - {NO_LABEL})
        scores["macro_f1"] = float(f1_score(gold, labels, labels=occur, average="macro", zero_division=0))
    return scores | {"no_label": sum(label == NO_LABEL for label in labels) / len(labels)}
