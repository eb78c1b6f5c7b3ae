"""The grid of runs: every task from every initial word, and the wayward ones."""

import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

import promptscope as ps
from promptscope.errors import PromptError, RunError
from recipes import common
from recipes.prompt_geometry.settings import Settings

Key = tuple[str, str]
"""(task, word), as tables name them."""


def task_name(name: str) -> str:
    """Return a task's name as the paper writes it.

    >>> task_name("fv/country-capital")
    'country_capital'
    """
    return name.rpartition("/")[2].replace("-", "_")


def load_tasks(settings: Settings, data: Path | None) -> dict[str, ps.Task]:
    """Return the tasks by the paper's names; function-vector tasks from *data*, as folders or JSON files.

    Raises:
        TaskError: no folder for a task that needs one.
    """
    template = ps.Template(settings.source, settings.target) if settings.source else None
    tasks = common.load_tasks(settings.tasks, data, find=_path_of, template=template)
    # Scored records are drawn with equally many of each label, if there are labels: files are often sorted.
    n = settings.scored
    return {task_name(name): common.drawn(task, settings.seed, test=n) if n else task for name, task in tasks.items()}


def _path_of(name: str, data: Path | None) -> Path | None:
    """Return DATA/NAME, with or without its `fv/`, or the file that the authors of the function vectors publish."""
    stem = name.removeprefix("fv/")
    if data is None or not name.startswith("fv/"):
        return common.folder_of(name, data)
    places = (data / stem, data / name, *sorted(data.rglob(f"{stem}.json")))
    return next((place for place in places if place.exists()), None)


def train_config(settings: Settings, n_train: int) -> ps.TrainConfig:
    """Return a run's settings: AdamW with linear decay and no warm-up (the paper's section 2.4 and code).

    Raises:
        RunError: neither steps nor epochs.
    """
    if not (settings.steps or settings.epochs):
        raise RunError(
            "steps and epochs are both 0, so nothing would be trained: set one of them, such as --set steps=100"
        )
    steps = settings.steps or max(1, round(settings.epochs * math.ceil(n_train / settings.batch_size)))
    return ps.TrainConfig(
        steps=steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        schedule="linear",
        padding=settings.padding,
        snapshot_every=max(1, math.ceil(steps / max(1, settings.snapshots))),
        checkpoint_every=20,
        seed=settings.seed,
    )


def check_words(model: ps.HookedModel, settings: Settings) -> None:
    """Make sure that every initial word is one token, and the placeholder of the readings too.

    Raises:
        PromptError: one is not.
    """
    placeholder = settings.placeholder
    if settings.readings and len(model.tokenizer(placeholder, add_special_tokens=False)["input_ids"]) != 1:
        raise PromptError(
            f"the placeholder {placeholder!r} must be one token of {model.name!r}, and is not: choose "
            "another (--set placeholder=WORD), or leave out the readings (--set readings=0)"
        )
    for word in settings.words:
        pieces = model.tokenizer(word, add_special_tokens=False)["input_ids"]
        if len(pieces) != 1 or pieces[0] == model.tokenizer.unk_token_id:
            raise PromptError(
                f"the initial word {word!r} must be one token of {model.name!r}, and is "
                f"{len(pieces)}: choose other words (--set 'words=[...]')"
            )


def word_prompts(settings: Settings) -> dict[Key, ps.SoftPrompt]:
    """Return the paper's prompts: each task from each word, repeated."""
    return {
        (task_name(task), word.strip()): ps.SoftPrompt(settings.length, ps.init.Text(word))
        for task in settings.tasks
        for word in settings.words
    }


def wayward_prompts(settings: Settings) -> dict[Key, ps.SoftPrompt]:
    """Return a prompt for each task that is held near a text which has nothing to do with any: nulls of the readings.

    The `word` of their keys is "wayward". There are none if nothing is read or the settings name no text.
    """
    if not (settings.readings and settings.wayward):
        return {}
    return {
        (task_name(task), "wayward"): ps.WaywardPrompt(settings.length, settings.wayward, settings.wayward_strength)
        for task in settings.tasks
    }


def train(
    settings: Settings,
    model: ps.HookedModel,
    tasks: Mapping[str, ps.Task],
    prompts: Mapping[Key, ps.SoftPrompt],
    out: Path,
    jobs: int,
    rows: int,
) -> tuple[dict[Key, ps.Run], pd.DataFrame]:
    """Train every prompt on its task, or read what is finished; return the runs and a table of what failed."""
    keys = {f"{task}-{word}": (task, word) for task, word in prompts}
    configs = {name: train_config(settings, len(task.split("train"))) for name, task in tasks.items()}
    if jobs:
        many = ps.train_many(
            {
                name: ps.RunConfig(settings.model, prompts[key], tasks[key[0]], configs[key[0]])
                for name, key in keys.items()
            },
            out,
            n_jobs=jobs,
        )
        return {keys[name]: run for name, run in many.runs.items()}, many.failed
    grid = {name: ps.GridRun(prompts[key], tasks[key[0]], configs[key[0]]) for name, key in keys.items()}
    failed: dict[str, RunError] = {}
    try:
        runs = ps.train_grid(model, grid, out, rows_per_pass=rows)
    except ps.GridError as error:
        failed = error.failed
        runs = {name: ps.load_run(out / name) for name in grid if name not in failed}
    rows_of = [(name, type(error).__name__, str(error)) for name, error in failed.items()]
    return {keys[name]: run for name, run in runs.items()}, pd.DataFrame(rows_of, columns=["run", "error", "reason"])
