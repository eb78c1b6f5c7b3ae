"""The runs of each comparison."""

from collections.abc import Mapping

import promptscope as ps
from recipes.common.grids import Planned
from recipes.power_of_scale.settings import Settings

Tasks = Mapping[str, ps.Task]


def train_config(settings: Settings, rate: float, seed: int) -> ps.TrainConfig:
    """Return a run's settings. The original trained with Adafactor; AdamW here, constant rate, best validation."""
    return ps.TrainConfig(
        steps=settings.steps,
        batch_size=settings.batch_size,
        learning_rate=rate,
        weight_decay=settings.weight_decay,
        max_length=settings.max_length or None,
        evaluate_every=min(settings.evaluate_every, settings.steps),
        evaluate_limit=settings.validated or None,
        checkpoint_every=max(20, settings.steps // 10),
        seed=seed,
    )


def plan(settings: Settings, tasks: Tasks) -> dict[str, list[Planned]]:
    """Return the runs of each comparison on one model."""
    made: dict[str, list[Planned]] = {"lengths": [], "starts": []}
    for name, task in tasks.items():
        for seed in settings.seeds:
            for length in settings.lengths:
                made["lengths"].append(_run(settings, "lengths", str(length), name, task, seed, length, settings.start))
            for start in settings.starts:
                if start_of(start, task, settings.length) is not None:
                    made["starts"].append(_run(settings, "starts", start, name, task, seed, settings.length, start))
    return made


def ensemble(settings: Settings, tasks: Tasks) -> list[Planned]:
    """Return the members of an ensemble for each task: seeds after those of the other comparisons."""
    first = max(settings.seeds) + 1
    return [
        _run(settings, "members", "member", name, task, first + i, settings.length, settings.start)
        for name, task in tasks.items()
        for i in range(settings.members)
    ]


def shifted(settings: Settings, tasks: Tasks) -> list[Planned]:
    """Return the runs for domain shift: trained on one data set, to be scored on another."""
    sources = dict.fromkeys(source for source, _ in settings.shifts)
    return [
        _run(settings, "shift", "prompt tuning", name, tasks[name], seed, settings.length, settings.start)
        for name in sources
        for seed in settings.seeds
    ]


def _run(
    settings: Settings, group: str, variant: str, name: str, task: ps.Task, seed: int, length: int, start: str
) -> Planned:
    first = start_of(start, task, length) or ps.init.Vocabulary()
    config = train_config(settings, settings.rate, seed)
    return Planned(group, variant, name, settings.rate, seed, ps.SoftPrompt(length, first, seed), task, config)


def start_of(start: str, task: ps.Task, length: int) -> ps.init.Initialisation | None:
    """Return an initialisation by name; None for `labels` if a task has no label words, or more than positions."""
    if start != "labels":
        return ps.init.Uniform() if start == "uniform" else ps.init.Vocabulary()
    if task.verbalizer is None or len(task.verbalizer.labels) > length:
        return None
    return ps.init.Labels(tuple(task.verbalizer.word(label).strip() for label in task.verbalizer.labels))
