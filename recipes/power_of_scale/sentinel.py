"""Targets in the form of span corruption: the answer after a sentinel token, as T5 writes what was cut out."""

from dataclasses import replace
from typing import Any

import promptscope as ps
from promptscope.tasks import Record


def sentinel_of(tokenizer: Any) -> str | None:
    """Return the tokenizer's first sentinel (`<extra_id_0>`), None where it has none."""
    known = tokenizer.get_vocab()
    return "<extra_id_0>" if "<extra_id_0>" in known else None


def with_sentinel(task: ps.Task, sentinel: str) -> ps.Task:
    """Return the task with *sentinel* before every answer; what is scored is the answer after it.

    All label words begin with it, so that it does not change which is likelier. A written answer is read
    without special tokens, hence without it.
    """
    if task.verbalizer is not None:
        words = {label: f"{sentinel}{task.verbalizer.word(label)}" for label in task.verbalizer.labels}
        return replace(task, verbalizer=ps.Verbalizer(words))

    def marked(record: Record) -> Record:
        return replace(record, label=f"{sentinel}{record.label or ''}")

    return replace(task, splits={name: tuple(map(marked, rows)) for name, rows in task.splits.items()}, source=None)
