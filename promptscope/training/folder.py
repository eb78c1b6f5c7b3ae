"""A run's folder while it is being trained: whose it is, and who may write to it."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from promptscope.errors import RunError, shortened
from promptscope.files import content_hash, is_there, nearest_file, read_sealed, writable, write_sealed

FORMAT = "promptscope.run.v1"
_LOCK = ".lock"


def temporary_folder(prefix: str) -> Path:
    """Return a new folder that lasts as long as this process."""
    with writable(Path(tempfile.gettempdir()) / prefix):
        folder = Path(tempfile.mkdtemp(prefix=prefix))
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked process may end while its parent still reads
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def claim(folder: Path, description: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    """Begin a run in *folder*, or go on with it, and lock the folder for other processes.

    Raises:
        RunError: something else is in there, a run with other settings, or another process trains it.
        FileError: nothing can be written there.
    """
    check_same(folder, description)
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(folder / _LOCK).acquire(timeout=0)
        except Timeout as error:
            raise RunError(
                f"another process is training in {str(folder)!r}: wait for it, or name another folder"
            ) from error
    with lock:
        check_same(folder, description)  # it may have been begun since
        for leftover in folder.rglob(".*.tmp"):  # of a process that was killed while it wrote
            leftover.unlink()
        if not (folder / "config.json").is_file():
            write_sealed(folder / "config.json", {"format": FORMAT, **description})
        yield


def has_checkpoint(folder: Path) -> bool:
    """Whether a run in *folder* was begun, and goes on from where it was."""
    return (folder / "checkpoint.safetensors").is_file()


class AnotherRunError(RunError):
    """A folder holds another run than the one that was asked for: a mistake in the call, no damage."""


def is_finished(folder: Path) -> bool:
    """Whether *folder* holds a run that came to its end: the result is written last."""
    return (folder / "result.json").is_file()


def read_description(folder: Path) -> dict[str, Any]:
    """Return what `config.json` says of the run in *folder*.

    Raises:
        RunError: there is none, or it is damaged or not a run's.
    """
    path = folder / "config.json"
    if not is_there(folder):
        raise RunError(f"{shortened(str(folder))!r} is not a run: there is no such folder.{nearest_file(folder)}")
    if not path.is_file():
        raise RunError(f"{str(folder)!r} is not a run: it has no config.json")
    try:
        description = read_sealed(path, lambda found: found.get("format") == FORMAT)
    except (OSError, ValueError) as error:
        raise RunError(f"{str(path)!r} is damaged ({error}): delete the folder and train again") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise RunError(f"{str(folder)!r} is not a run: its config.json is not of the format {FORMAT!r}")
    return description


def run_hash(folder: Path) -> str:
    """Return what tells the run in *folder* from others; its other files carry it, so that none comes from another."""
    return content_hash(read_description(folder))


def check_same(folder: Path, description: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise AnotherRunError unless *folder* is free, or holds a run with this description.

    `source` may differ: the same model and records may lie elsewhere now; their hashes are compared.
    """
    if not (folder / "config.json").is_file():
        if folder.exists() and (not folder.is_dir() or any(not _ours(path) for path in folder.iterdir())):
            raise AnotherRunError(f"{str(folder)!r} exists and is not a run: name a new or empty folder")
        return
    before = read_description(folder)
    there = {(part, name): value for part in before.keys() - {"format"} for name, value in before[part].items()}
    now = {(part, name): value for part, values in description.items() for name, value in values.items()}
    differences = [
        "prompt.start: the prompt starts from other vectors"
        if (part, name) == ("prompt", "start")
        else f"{part}.{name}: {there.get((part, name))!r} there, {now.get((part, name))!r} now"
        for part, name in [*now, *(key for key in there if key not in now)]
        if name != "source" and there.get((part, name)) != now.get((part, name))
    ]
    if differences:
        raise AnotherRunError(
            f"{str(folder)!r} holds a run with other settings ({'; '.join(differences)}): name another folder, or "
            "delete it"
        )


def _ours(path: Path) -> bool:
    """Whether a run that was killed before it wrote its config can have left *path*."""
    return path.name == _LOCK or (path.name.startswith(".config.json.") and path.suffix == ".tmp")
