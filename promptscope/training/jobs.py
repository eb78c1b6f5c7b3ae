"""Many runs in parallel processes, on this machine or on a cluster."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import Parallel, delayed

from promptscope.checks import checked
from promptscope.errors import RunError
from promptscope.models import Hook, HookedModel, load_model
from promptscope.progress import progress_bar
from promptscope.prompts import Prompt, load_prompt
from promptscope.prompts.initialisation import FromPrompt
from promptscope.tasks import Task
from promptscope.training.config import TrainConfig
from promptscope.training.folder import is_finished, read_description
from promptscope.training.reload import model_source, task_description
from promptscope.training.run import Run
from promptscope.training.single import train

Failure = tuple[str, str]
"""The class and the message of an error."""

Files = tuple[tuple[str, int, int], ...]
"""Name, time of the last change and size of each file in a folder."""

# Hooks belong to a model, and a worker has one model: threads of one process take turns.
_ONE_AT_A_TIME = threading.Lock()


@checked()
@dataclass(frozen=True)
class RunConfig:
    """One run of `ps.train_many`: the model's name or folder, prompt, task and settings.

    `device` and `dtype` are passed to `ps.load_model`. The prompt is copied, so that the caller's object does not
    change.

    >>> import promptscope as ps
    >>> config = ps.TrainConfig(steps=100)
    >>> run = ps.RunConfig("embedded-causal", ps.SoftPrompt(4), ps.load_task("continent_en"), config, device="cpu")
    >>> run.config.steps
    100
    """

    model: str
    prompt: Prompt
    task: Task
    config: TrainConfig
    device: str | None = None
    dtype: str | None = None


@dataclass(frozen=True, eq=False)
class ManyRuns:
    """The results of `ps.train_many`.

    - `runs`: the finished runs, by name;
    - `failed`: a table with one row for each failed run, and the columns `run`, `error` (class) and `reason` (message);
    - `n_skipped`: the number of runs that were already finished before the call.

    >>> failed = pd.DataFrame([("seed 1", "RunError", "the loss is NaN")], columns=["run", "error", "reason"])
    >>> many = ManyRuns(runs={}, failed=failed)
    >>> len(many.runs), many.failed["run"].tolist()
    (0, ['seed 1'])
    """

    runs: dict[str, Run]
    failed: pd.DataFrame
    n_skipped: int = 0


@checked()
def train_many(
    runs: Mapping[str, RunConfig],
    out: str | os.PathLike[str],
    n_jobs: int | None = None,
    backend: str | None = None,
    progress: bool = True,
    hooks: Sequence[Hook] = (),
) -> ManyRuns:
    """Train many runs in parallel with joblib, each in its folder `out/name`; a failed run does not stop the others.

    The same call again does not repeat finished runs (their models are not loaded, except from folders, whose files may
    have changed), continues interrupted runs, and tries failed ones again. A worker keeps the model of its last run in
    memory, so list runs of the same model one after the other. Each run gives the numbers of `ps.train`. For many
    prompts on *one* model, `ps.train_grid` is faster, since runs share passes.

    Args:
        runs: name -> run.
        out: a folder that all workers can access.
        n_jobs: number of worker processes, -1 for one per core; None: that of `joblib.parallel_config`, or else one.
        backend: joblib's backend; None: that of `joblib.parallel_config`, or else processes on this machine. On a Dask
            cluster: `with joblib.parallel_config(backend="dask"): ps.train_many(runs, out)`.
        progress: whether to show one progress bar for all runs.
        hooks: hooks for the runs, see `ps.train`; functions that joblib can pickle.

    Raises:
        RunError: a name cannot be a folder name.

    >>> import promptscope as ps, tempfile
    >>> task, config = ps.load_task("continent_en"), ps.TrainConfig(steps=2, batch_size=4)
    >>> runs = {f"seed {i}": ps.RunConfig("embedded-causal", ps.SoftPrompt(4, seed=i), task, config) for i in range(2)}
    >>> done = ps.train_many(runs, tempfile.mkdtemp(), progress=False)
    >>> list(done.runs), len(done.failed)
    (['seed 0', 'seed 1'], 0)
    """
    wrong = [name for name in runs if name in ("", ".", "..") or name != Path(name).name]
    if wrong:
        raise RunError(
            f"the name of a run is used as the name of its folder, which {wrong[0]!r} cannot be: leave out slashes"
        )
    folders = {name: Path(out).resolve() / name for name in runs}
    finished = {name for name in runs if is_finished(folders[name])}
    # What runs are under hooks is for `ps.train` to say, which asks the model.
    left = {name: run for name, run in runs.items() if hooks or not _is_done(run, folders[name])}
    failed: dict[str, Failure] = {}
    with progress_bar(total=len(runs), initial=len(runs) - len(left), desc="runs", unit="run", shown=progress) as bar:
        for name, failure in _outcomes(left, folders, n_jobs, backend, hooks):
            if failure is not None:
                failed[name] = failure
            bar.update()
            bar.set_postfix(failed=len(failed), refresh=False)
    return ManyRuns(
        runs={name: Run(folders[name]) for name in runs if name not in failed},
        failed=pd.DataFrame(
            [(name, *failed[name]) for name in runs if name in failed], columns=["run", "error", "reason"]
        ),
        n_skipped=len(finished - failed.keys()),
    )


def _outcomes(
    runs: Mapping[str, RunConfig],
    folders: Mapping[str, Path],
    n_jobs: int | None,
    backend: str | None,
    hooks: Sequence[Hook],
) -> Iterator[tuple[str, Failure | None]]:
    """Yield the name of each run when it ends, with the reason if it failed."""
    if not runs:
        return
    waiting = dict.fromkeys(runs)
    parallel = Parallel(n_jobs=n_jobs, backend=backend, return_as="generator_unordered", batch_size=1)
    try:
        jobs = (delayed(_train_one)(name, run, folders[name], hooks) for name, run in runs.items())
        for name, failure in parallel(jobs):
            del waiting[name]
            if failure is None and not is_finished(folders[name]):
                failure = (
                    "RunError",
                    f"a worker finished it, but the folder {str(folders[name])!r} cannot be read here: give an out "
                    "folder that all machines can access",
                )
            yield name, failure
    except Exception as error:  # the pool itself broke: a worker was killed, or the cluster went away
        for name in waiting:
            yield name, (type(error).__name__, f"it was not finished, as the workers stopped: {error}")


def _train_one(name: str, run: RunConfig, folder: Path, hooks: Sequence[Hook]) -> tuple[str, Failure | None]:
    try:
        with _ONE_AT_A_TIME:
            model = _model(run.model, run.device, run.dtype, _files(run.model))
            train(model, run.prompt.copy(), run.task, run.config, folder, False, hooks)
    except Exception as error:  # of any kind: it belongs into the table of what failed, and must not stop the others
        return name, (type(error).__name__, str(error))
    return name, None


@lru_cache(maxsize=1)
def _model(name: str, device: str | None, dtype: str | None, files: Files) -> HookedModel:
    return load_model(name, device=device, dtype=dtype)


def _files(model: str) -> Files:
    """Return the state of the files in a model's folder (sizes, times), which changes when they are written again."""
    folder = Path(model_source(model))
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    return tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in there)


def _is_done(run: RunConfig, folder: Path) -> bool:
    """Return whether *folder* holds this run, finished, as far as can be told without loading the model.

    If it cannot be told, False is returned, and `ps.train` compares the whole description.
    """
    if not is_finished(folder):
        return False
    try:
        there = read_description(folder)
        started = load_prompt(folder / "prompts" / "last").provenance
        now = _visible(run)
    except Exception:  # damaged, or not to be trained at all: `ps.train` says what is wrong
        return False
    same_settings = all(there[part].get(name) == value for part in now for name, value in now[part].items())
    # The files of a local folder may hold other weights by now.
    source = model_source(run.model)
    same_model = there["model"].get("source") == source and run.dtype is None and not Path(source).is_dir()
    same_start = (started.get("init"), started.get("seed")) == (str(run.prompt.init), run.prompt.seed)
    # Of numbers that the caller gave, nothing but the worker's own comparison says whether they are the same.
    own_start = not run.prompt.is_bound and not isinstance(run.prompt.init, FromPrompt)
    return same_settings and same_model and same_start and own_start


def _visible(run: RunConfig) -> dict[str, dict[str, Any]]:
    """Return the part of a run's description that is known without its model."""
    description = task_description(run.task)
    description.pop("source")
    validation = run.task.data_hash("validation") if run.config.evaluate_every else None
    hashes = {"data_hash": run.task.data_hash("train"), "validation_hash": validation}
    return {
        "config": run.config.to_json(),
        "task": {"name": run.task.name, **hashes, **description},
        "prompt": {"type": type(run.prompt).__name__, "settings": run.prompt.settings()},
    }
