"""The model and the task of a run, from its folder alone."""

from pathlib import Path
from typing import Any

from promptscope.errors import RunError, TaskError
from promptscope.models import EMBEDDED_MODELS, HookedModel, load_model
from promptscope.tasks import Task, Template, Verbalizer, load_task
from promptscope.training.run import Run


def model_source(name: str) -> str:
    """Return what `load_model` finds a model by from any working directory."""
    path = Path(name).expanduser()
    return str(path.resolve()) if name not in EMBEDDED_MODELS and path.is_dir() else name


def task_description(task: Task) -> dict[str, Any]:
    """Return what `load_task` needs to make *task* again; `source` is None for records from memory."""
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
    """Load the model of a run; *model* says where it lies now, if it was moved or was given as an object.

    Raises:
        ModelError: it is not there any more.
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
        TaskError: the files are gone, or hold other records than those the run was trained on.
    """
    there = run.description["task"]
    if not there.get("source"):
        raise RunError(
            f"the records of task {there['name']!r} came from memory, so {str(run.folder)!r} cannot say where they "
            "are: pass the task (on the command line: --task FILE)"
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
            f"{task.data_hash('train')[:12]}, it was {there['data_hash'][:12]}). Restore the files, or pass the task "
            "explicitly (on the command line: --task) to use them as they are"
        )
    return task
