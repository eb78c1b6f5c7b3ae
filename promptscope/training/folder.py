"""A run's folder during training: its description, and the lock that keeps other processes out."""

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
    """Return a new folder that is deleted when this process ends."""
    with writable(Path(tempfile.gettempdir()) / prefix):
        folder = Path(tempfile.mkdtemp(prefix=prefix))
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked process may end while its parent still reads
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def claim(folder: Path, description: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    """Start or continue a run in *folder* within a `with` block, and lock the folder against other processes.

    Raises:
        RunError: the folder holds something else or a run with other settings, or another process is training in it.
        FileError: nothing can be written there.
    """
    check_same(folder, description)
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(folder / _LOCK).acquire(timeout=0)
        except Timeout as error:
            raise RunError(
                f"another process is training in {str(folder)!r}: wait until it ends, or give another folder"
            ) from error
    with lock:
        check_same(folder, description)  # it may have been begun since
        for leftover in folder.rglob(".*.tmp"):  # of a process that was killed while it wrote
            leftover.unlink(missing_ok=True)
        if not (folder / "config.json").is_file():
            write_sealed(folder / "config.json", {"format": FORMAT, **description})
        yield


def has_checkpoint(folder: Path) -> bool:
    """Return whether *folder* holds a checkpoint from which a run can continue."""
    return (folder / "checkpoint.safetensors").is_file()


class AnotherRunError(RunError):
    """A folder holds another run than the one in the call; the folder is not damaged."""


def is_finished(folder: Path) -> bool:
    """Return whether *folder* holds a finished run, that is, one with a result file, which is written last."""
    return (folder / "result.json").is_file()


def read_description(folder: Path) -> dict[str, Any]:
    """Return the description of the run in *folder*, from its `config.json`.

    Raises:
        RunError: there is no such folder or file, or it is damaged or does not describe a run.
    """
    path = folder / "config.json"
    if not is_there(folder):
        raise RunError(f"{shortened(str(folder))!r} is not a run: there is no such folder.{nearest_file(folder)}")
    if not path.is_file():
        raise RunError(
            f"{str(folder)!r} is not a run: it has no config.json. Give a folder that ps.train(..., out=...) wrote"
        )
    try:
        description = read_sealed(path, lambda found: found.get("format") == FORMAT)
    except (OSError, ValueError) as error:
        raise RunError(f"{str(path)!r} is damaged ({error}): delete the folder and train again") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise RunError(
            f"{str(folder)!r} is not a run: its config.json does not have the format {FORMAT!r}. Give a folder that "
            "ps.train(..., out=...) wrote"
        )
    return description


def run_hash(folder: Path) -> str:
    """Return what tells the run in *folder* from others; its other files carry it, so that none comes from another."""
    return content_hash(read_description(folder))


def check_same(folder: Path, description: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise AnotherRunError unless *folder* is empty or absent, or holds a run with this description.

    The entry `source` may differ, since the model and the records may have been moved; their hashes are compared.
    """
    if not (folder / "config.json").is_file():
        if folder.exists() and (not folder.is_dir() or any(not _ours(path) for path in folder.iterdir())):
            raise AnotherRunError(f"{str(folder)!r} exists and is not a run: give a new or empty folder")
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
            f"{str(folder)!r} holds a run with other settings ({'; '.join(differences)}): give another folder, or "
            "delete this one"
        )


def _ours(path: Path) -> bool:
    """Return whether *path* may be left from a run that was killed before it wrote its configuration."""
    return path.name == _LOCK or (path.name.startswith(".config.json.") and path.suffix == ".tmp")
