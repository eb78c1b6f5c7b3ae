"""Loading of runs with their models and tasks, for commands."""

from pathlib import Path
from typing import Any

from promptscope.errors import RunError, nearest


def load_run_parts(
    folder: Path,
    model: str | None,
    task: str | None,
    task_path: Path | None,
    device: str | None,
    dtype: str | None,
) -> tuple[Any, Any, Any]:
    """Return (run, model, task); model and task are the run's own unless they are given."""
    import promptscope as ps
    from promptscope.training.reload import reload_model, reload_task

    run = ps.load_run(folder)
    if task is None and task_path is not None:
        raise RunError("--task-path needs --task NAME, the known data set whose files it holds")
    loaded = reload_task(run) if task is None else ps.load_task(task, path=task_path)
    return run, reload_model(run, model, device, dtype), loaded


def choose_prompt(run: Any, which: str) -> Any:
    """Return the run's `last` or `best` prompt, or None for `none`."""
    if which == "none":
        return None
    if which not in ("last", "best"):
        raise RunError(f"--prompt must be last, best or none, got {which!r}.{nearest(which, ('last', 'best', 'none'))}")
    return run.prompt if which == "last" else run.best_prompt
