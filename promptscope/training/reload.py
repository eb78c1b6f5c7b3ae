"""Loading the model and the task of a run from its folder."""

from pathlib import Path
from typing import Any

from promptscope.errors import RunError, TaskError
from promptscope.models import EMBEDDED_MODELS, HookedModel, load_model
from promptscope.tasks import Task, Template, Verbalizer, load_task
from promptscope.training.run import Run


def model_source(name: str) -> str:
    """Return a name or absolute folder by which `load_model` finds a model from any working directory."""
    path = Path(name).expanduser()
    return str(path.resolve()) if name not in EMBEDDED_MODELS and path.is_dir() else name


def task_description(task: Task) -> dict[str, Any]:
    """Return the arguments with which `load_task` makes *task* again; `source` is None for records from memory."""
    return {
        "source": None if task.source is None else dict(task.source),
        "template": task.template.to_json(),
        "verbalizer": None if task.verbalizer is None else task.verbalizer.to_json(),
        "metrics": list(task.metrics),
        "max_length": task.max_length,
    }


def reload_model(
    run: Run, model: str | None = None, device: str | None = None, dtype: str | None = None
) -> HookedModel:
    """Load the model of a run; *model* is its present folder, if it was moved or was given as an object.

    Raises:
        ModelError: the model is not found.
    """
    there = run.description["model"]
    return load_model(
        model or there.get("source", there["name"]),
        device=device,
        dtype=dtype or there["dtype"],
        revision=None if model else there["revision"],
    )


def reload_task(run: Run) -> Task:
    """Load the task of a run.

    Raises:
        RunError: the records came from memory.
        TaskError: the files are missing, or hold other records than those of the training.
    """
    there = run.description["task"]
    if not there.get("source"):
        raise RunError(
            f"the records of task {there['name']!r} came from memory, so that they cannot be loaded for the run "
            f"{str(run.folder)!r}: pass the task (on the command line: --task FILE)"
        )
    verbalizer = there["verbalizer"]
    source = dict(there["source"])
    shares = source.pop("shares", ())
    task = load_task(
        **source,
        template=Template(**there["template"]),
        verbalizer=None if verbalizer is None else Verbalizer(**verbalizer),
        metric=there["metrics"],
        max_length=there["max_length"],
    )
    for share in shares:
        task = task.with_splits(**share)
    if task.data_hash("train") != there["data_hash"]:
        raise TaskError(
            f"task {there['name']!r} has other records now than when {str(run.folder)!r} was trained (data hash "
            f"{task.data_hash('train')[:12]}, before {there['data_hash'][:12]}). Restore the files, or pass the task "
            "(on the command line: --task) to use the present records"
        )
    return task
