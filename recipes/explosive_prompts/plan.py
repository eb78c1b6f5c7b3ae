"""The runs of each comparison."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import promptscope as ps
from recipes.common import few_shot
from recipes.common.grids import Planned
from recipes.explosive_prompts.methods import (
    METHODS,
    PLAIN,
    TOKENS,
    broadcast_to,
    method_prompt,
    with_structure,
    with_width,
)
from recipes.explosive_prompts.settings import Settings

Tasks = Mapping[str, ps.Task]


def plan(settings: Settings, tasks: Tasks) -> dict[str, list[Planned]]:
    """Return the runs of each comparison by its name. A run that is in two comparisons is planned once, in `main`."""
    rate, seeds = settings.learning_rate, settings.seeds
    groups: dict[str, list[Planned]] = {
        "main": [_of(settings, tasks, "main", m, t, rate, s, method_prompt(m, settings, s))
                 for m in (*METHODS, PLAIN, TOKENS) for t in tasks for s in seeds],
        "rates": [_of(settings, tasks, "rates", m, t, other, s, method_prompt(m, settings, s))
                  for m in ("PT", "ResPrompt", "EPT", "EPT*", PLAIN) for t in tasks for s in seeds
                  for other in settings.rates if other != rate],
        "widths": [_of(settings, tasks, "widths", str(h), t, rate, s, with_width(h, s))
                   for h in settings.widths for t in tasks for s in seeds],
        "lengths": [_of(settings, tasks, "lengths", str(k), t, rate, s, broadcast_to(k, s))
                    for k in settings.lengths for t in tasks for s in seeds],
        "structures": [_of(settings, tasks, "structures", name, t, rate, s, with_structure(name, s))
                       for name in settings.structures for t in tasks for s in seeds],
        "starts": [_of(settings, tasks, "starts", name, t, rate, s, method_prompt("EPT", settings, s, start))
                   for name in settings.starts for t in tasks for s in seeds
                   if (start := start_of(name, tasks[t], s)) is not None],
    }  # fmt: skip
    groups["few_shot"] = _few_shot(settings, tasks)
    return groups


def train_config(settings: Settings, rate: float, seed: int, steps: int = 0) -> ps.TrainConfig:
    """Return a run's settings: AdamW, constant rate, the prompt with the best validation score (S3, appendix B.2)."""
    steps = steps or settings.steps
    return ps.TrainConfig(
        steps=steps,
        batch_size=settings.batch_size,
        learning_rate=rate,
        weight_decay=settings.weight_decay,
        max_length=settings.max_length or None,
        evaluate_every=min(settings.evaluate_every, steps),
        evaluate_limit=settings.validated or None,
        snapshot_every=max(1, math.ceil(steps / 5)),
        checkpoint_every=max(20, steps // 10),
        seed=seed,
    )


def _of(
    settings: Settings, tasks: Tasks, group: str, variant: str, task: str, rate: float, seed: int, prompt: ps.SoftPrompt
) -> Planned:
    config = train_config(settings, rate, seed)
    return Planned(group, variant, task, rate, seed, prompt, tasks[task], config)


def _few_shot(settings: Settings, tasks: Tasks) -> list[Planned]:
    made = []
    for shots in settings.shots:
        for name, task in tasks.items():
            for draw in range(settings.draws):
                few = replace(few_shot(task, shots, draw), name=task.name)
                config = train_config(settings, settings.learning_rate, draw, settings.few_shot_steps)
                made += [
                    Planned(
                        f"few{shots}",
                        m,
                        name,
                        settings.learning_rate,
                        draw,
                        method_prompt(m, settings, draw),
                        few,
                        config,
                    )
                    for m in METHODS
                ]
    return made


def start_of(name: str, task: ps.Task, seed: int) -> str | ps.init.Initialisation | None:
    """Return the start of EPT's one vector; "labels": a label word, another one for each seed; None without labels."""
    if name != "labels":
        return name
    if task.verbalizer is None:
        return None
    labels = task.verbalizer.labels
    return ps.init.Text(task.verbalizer.word(labels[seed % len(labels)]))


def runs_of(groups: Mapping[str, Sequence[Planned]]) -> list[Planned]:
    """Return all planned runs."""
    return [one for group in groups.values() for one in group]
