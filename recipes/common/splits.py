"""Which records are trained on and which are scored: one rule for all recipes."""

import random
from collections.abc import Sequence
from dataclasses import replace

import promptscope as ps
from promptscope.tasks import Record


def with_train_and_test(task: ps.Task, held_out: float = 0.2) -> ps.Task:
    """Return the task with the splits `train` and `test`; a real test split stays as it is.

    - Without `test`, `validation` becomes it, and is then not used for any choice.
    - Without `train`, the records of the remaining splits become it.
    - A single split is divided at random (seeded), *held_out* of it for the test.

    >>> task = ps.load_task("continent_en")
    >>> only = replace(task, splits={"test": task.split("test")})
    >>> {name: len(records) for name, records in with_train_and_test(only, 0.25).splits.items()}
    {'train': 150, 'test': 50}
    """
    splits = dict(task.splits)
    if len(splits) == 1:
        (only,) = splits
        if only in ("train", "all"):
            return task.with_splits(test=held_out, source=only)
        return replace(task, splits={"all": splits[only]}, source=None).with_splits(test=held_out, source="all")
    if {"train", "test"} <= set(splits):
        return task
    test = splits.pop("test", None) or splits.pop("validation", None)
    if test is None:
        raise ps.TaskError(
            f"task {task.name!r} needs a split called test or validation, and has {', '.join(splits)}: rename one"
        )
    train = splits.pop("train", None) or tuple(record for records in splits.values() for record in records)
    kept = {} if "train" not in task.splits else splits
    return replace(task, splits={"train": train, **kept, "test": test}, source=None)


def with_validation(tasks: dict[str, ps.Task], share: float = 0.2) -> dict[str, ps.Task]:
    """Return the tasks with a validation split each, cut from the training records where there is none."""
    return {
        name: task if "validation" in task.splits else task.with_splits(validation=share)
        for name, task in tasks.items()
    }


def balanced_order(records: Sequence[Record], seed: int = 0) -> tuple[Record, ...]:
    """Return the records in a random order whose first n are a balanced draw, for every n.

    Labels take turns, each with its records in random order; a label without records left drops out. If most labels are
    different (free texts), the order is simply random. So even in a data set that is sorted by label, no label comes
    twice before each has come once.

    >>> rows = [Record(str(i), {"text": str(i)}, "ab"[i // 8], ()) for i in range(10)]
    >>> [record.label for record in balanced_order(rows)][:4].count("b")
    2
    """
    generator = random.Random(seed)
    by_label: dict[str | None, list[Record]] = {}
    for record in records:
        by_label.setdefault(record.label, []).append(record)
    if len(by_label) > len(records) / 2:
        return tuple(generator.sample(list(records), len(records)))
    queues = [generator.sample(of_label, len(of_label)) for of_label in by_label.values()]
    order: list[Record] = []
    while queues:
        generator.shuffle(queues)
        order += [queue.pop() for queue in queues]
        queues = [queue for queue in queues if queue]
    return tuple(order)


def drawn(task: ps.Task, seed: int = 0, **limits: int) -> ps.Task:
    """Return the task with each split in *limits* put in `balanced_order` and cut to its limit; 0: all records.

    The first n records of such a split are then a balanced draw, for every n. Splits that are not in *limits* stay as
    they are.
    """
    splits = {
        name: balanced_order(task.split(name), seed)[: limit or len(task.split(name))] for name, limit in limits.items()
    }
    return replace(task, splits={**task.splits, **splits}, source=None)


def few_shot(task: ps.Task, shots: int, seed: int) -> ps.Task:
    """Return the task with *shots* training records, equally many of each class.

    If *shots* is not a multiple of the number of classes, some classes have one more. Without classes, records are
    drawn at random.

    Raises:
        TaskError: a class has fewer records than its share.

    >>> task = few_shot(ps.load_task("continent_en"), shots=10, seed=0)
    >>> sorted(record.label for record in task.split("train"))[:4]
    ['Africa', 'Africa', 'Americas', 'Americas']
    """
    generator = random.Random(seed)
    by_class: dict[str | None, list[Record]] = {}
    for record in task.split("train"):
        by_class.setdefault(record.label if task.verbalizer is not None else None, []).append(record)
    share, left = divmod(shots, len(by_class))
    classes = sorted(by_class, key=str)
    counts = dict.fromkeys(classes, share)
    for label in generator.sample(classes, left):
        counts[label] += 1
    for label, records in by_class.items():
        if len(records) < counts[label]:
            of = "" if label is None else f" of class {label!r}"
            raise ps.TaskError(
                f"a draw of {shots} records needs {counts[label]}{of}, and task {task.name!r} has "
                f"{len(records)}: draw fewer"
            )
    taken = [record for label in classes for record in generator.sample(by_class[label], counts[label])]
    generator.shuffle(taken)
    return replace(task, splits={**task.splits, "train": tuple(taken)}, source=None)
