"""The tasks of a recipe: from the package, from folders, from the Hub; all found before anything is trained."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import promptscope as ps
from recipes.common.splits import with_train_and_test


def load_tasks(
    names: Sequence[str],
    data: Path | None = None,
    held_out: float = 0.2,
    at_least: int = 1,
    find: Callable[[str, Path | None], Path | None] | None = None,
    **options: Any,
) -> dict[str, ps.Task]:
    """Return the tasks by name, each with the splits `train` and `test` (`with_train_and_test`).

    `DATA/NAME` is used rather than the Hub; *find* says where else a task's files are. *options* go to `ps.load_task`.
    All tasks are looked for before an error is raised, so that it names everything that is missing.

    Raises:
        TaskError: fewer tasks than *at_least*, one twice, or some that cannot be found.
    """
    if len(names) < at_least or len(set(names)) < len(names):
        wanted = "one task" if at_least == 1 else f"{at_least} tasks"
        raise ps.TaskError(f"expected at least {wanted}, each named once, got {list(names)}")
    known = ps.list_tasks()["source"].to_dict()
    where = {name: (find or folder_of)(name, data) for name in names}
    # Files and names are checked first: a download from the Hub may take an hour.
    missing = {name: str(error) for name in names if (error := _missing(name, where[name], known)) is not None}
    if not missing:
        tasks = {}
        for name in names:
            try:
                tasks[name] = with_train_and_test(ps.load_task(name, where[name], **options), held_out)
            except ps.TaskError as error:
                missing[name] = str(error)
    if missing:
        raise ps.TaskError(
            f"{len(missing)} of {len(names)} tasks cannot be loaded, so nothing was trained. "
            + " ".join(f"{name}: {reason}" for name, reason in missing.items())
            + " Pass --data FOLDER, where FOLDER/NAME holds the files of task NAME (train.jsonl, test.jsonl)"
            + (f"; {data} has {_listed(data)}." if data is not None else ".")
        )
    return tasks


def folder_of(name: str, data: Path | None) -> Path | None:
    """Return `DATA/NAME` if it is there."""
    folder = None if data is None else data / name
    return folder if folder is not None and folder.is_dir() else None


def _missing(name: str, path: Path | None, known: Mapping[str, str]) -> ps.TaskError | None:
    if path is None and known.get(name) == "local files only":
        return ps.TaskError("it is not on the Hub.")
    if path is None and name not in known and not Path(name).exists() and "/" not in name:
        try:
            ps.load_task(name)  # that error itself, which suggests the nearest name
        except ps.TaskError as error:
            return error
    return None


def _listed(data: Path) -> str:
    return (
        ", ".join(sorted(path.name for path in data.iterdir())) if data.is_dir() else "nothing: there is no such folder"
    )
