"""The tasks of `train`: from the package, from a folder that has one for each, or from the Hub."""

from dataclasses import replace
from pathlib import Path

import promptscope as ps
from recipes import common
from recipes.common import drawn
from recipes.token_splitting.settings import KNOWN, Settings

TEMPLATES = {"mnli": ps.Template("{bos}{text1};{text2}{sep}{mask}", "{label}")}
"""Section 4.1: premise and hypothesis with a semi-colon."""


def load_tasks(settings: Settings, data: Path | None) -> dict[str, ps.Task]:
    """Return the tasks by name, each with the splits `train` and `test`; `DATA/NAME` is used rather than the Hub.

    A validation split replaces a missing test split; a source with a single split is divided.

    Raises:
        TaskError: no task, one twice, an unknown one, or one without label words.
    """
    tasks = common.load_tasks(settings.tasks, data, settings.held_out)
    return {name: _drawn(_as_read(task, settings), settings) for name, task in tasks.items()}


def printed(task: str) -> str:
    """Return the name of a task in the paper's tables; of other tasks, its own.

    >>> printed("imdb"), printed("continent_en")
    ('IMDb', 'continent_en')
    """
    return KNOWN[task].printed if task in KNOWN else task


def n_scored(task: str, settings: Settings) -> int | None:
    """Return how many records of the test split are scored; None: all."""
    return settings.scored or (KNOWN[task].scored if task in KNOWN else None)


def _as_read(task: ps.Task, settings: Settings) -> ps.Task:
    if task.verbalizer is None:
        raise ps.TaskError(
            "train needs tasks with label words, which masked models predict, and "
            f"{task.name!r} has none: name a classification task"
        )
    return replace(
        task,
        template=replace(TEMPLATES.get(task.name, task.template), mask_attended=settings.mask_attended),
        verbalizer=ps.Verbalizer(task.verbalizer.words, settings.first_piece),
    )


def _drawn(task: ps.Task, settings: Settings) -> ps.Task:
    """Draw the records that are trained on and scored: files are often sorted by label."""
    known = KNOWN.get(task.name)
    train = settings.train_limit or (known.train if known and not settings.steps else 0)
    scored = n_scored(task.name, settings) or 0
    limits = {split: n for split, n in {"train": train, "test": scored}.items() if 0 < n < len(task.split(split))}
    return drawn(task, settings.data_seed, **limits) if limits else task
