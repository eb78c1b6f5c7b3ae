"""Training of many soft prompts together on one copy of the model."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from promptscope.checks import checked
from promptscope.engine import execution
from promptscope.errors import GridError, RunError
from promptscope.models import Hook, HookedModel
from promptscope.progress import progress_bar
from promptscope.prompts import Prompt
from promptscope.tasks import Batch, Task
from promptscope.training.config import TrainConfig
from promptscope.training.folder import AnotherRunError, temporary_folder
from promptscope.training.gradient import Portion, accumulate_gradients
from promptscope.training.loop import Loop
from promptscope.training.run import Run
from promptscope.training.single import Job


@checked()
@dataclass(frozen=True)
class GridRun:
    """One run of a grid: prompt, task and settings, as in `ps.train`.

    >>> import promptscope as ps
    >>> task = ps.load_task("continent_en")
    >>> configs = {f"lr {lr}": ps.TrainConfig(steps=100, learning_rate=lr) for lr in (0.1, 0.3)}
    >>> runs = {name: ps.GridRun(ps.SoftPrompt(4), task, config) for name, config in configs.items()}
    >>> list(runs)  # for `ps.train_grid(model, runs)`
    ['lr 0.1', 'lr 0.3']
    """

    prompt: Prompt
    task: Task
    config: TrainConfig


@checked(rows_per_pass=1)
def train_grid(
    model: HookedModel,
    runs: Mapping[str, GridRun],
    out: str | os.PathLike[str] | None = None,
    rows_per_pass: int = 64,
    progress: bool = True,
    hooks: Sequence[Hook] = (),
) -> dict[str, Run]:
    """Train many prompts together on one model (other tasks, initialisations, seeds, learning rates).

    A pass over the model contains records of several runs whose prompts have the same kind and length. The backward
    pass is that of the sum of the runs' own mean losses. Optimiser, clipping, schedule, early stopping, best prompt and
    order of records are separate for each run. Each run gives the numbers of `ps.train`, up to rounding.

    Args:
        model: a hooked model.
        runs: name -> run.
        out: a folder in which the run `name` is saved as `out/name`, as by `ps.train(..., out=out/name)`. The same call
            again does not repeat finished runs and continues interrupted ones. Without *out*, runs are kept until the
            process ends.
        rows_per_pass: the largest number of records in a pass.
        progress: whether to show a progress bar.
        hooks: hooks for this call, in addition to attached ones, see `model.hooks`.

    Raises:
        GridError: some runs failed, while the others finished; it names the failed ones.
        RunError: a name cannot be a folder name, or two runs have the same prompt object.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> config = ps.TrainConfig(steps=2, batch_size=4)
    >>> runs = {f"seed {i}": ps.GridRun(ps.SoftPrompt(4, seed=i), task, config) for i in range(3)}
    >>> [len(run.history) for run in ps.train_grid(model, runs, progress=False).values()]
    [2, 2, 2]
    """
    if rows_per_pass < 1:
        raise RunError(f"rows_per_pass must be at least 1, got {rows_per_pass}")
    if len({id(run.prompt) for run in runs.values()}) < len(runs):
        raise RunError("two runs of the grid have the same prompt object: give each run its own, such as prompt.copy()")
    wrong = [name for name in runs if name in ("", "..") or name != Path(name).name]
    if wrong:
        raise RunError(
            f"the name of a run is used as the name of its folder, which {wrong[0]!r} cannot be: leave out slashes"
        )
    folder = Path(out) if out is not None else temporary_folder("promptscope-grid-")
    with model.turn(hooks), torch.enable_grad():
        return _train_all(model, runs, folder, rows_per_pass, progress)


def _train_all(
    model: HookedModel, runs: Mapping[str, GridRun], folder: Path, rows_per_pass: int, progress: bool
) -> dict[str, Run]:
    # A folder that is damaged or in use is the failure of its run alone: the others go on.
    failed: dict[str, RunError] = {}
    jobs: dict[str, Job] = {}
    results: dict[str, Run] = {}
    for name, run in runs.items():
        try:
            jobs[name] = Job(model, run.prompt, run.task, run.config, folder / name)
        except AnotherRunError:  # found before anything trains
            raise
        except RunError as error:
            failed[name] = error
    with ExitStack() as stack:
        loops: dict[str, Loop] = {}
        for name, job in jobs.items():
            try:
                if job.finished:
                    results[name] = job.result()
                    continue
                loop = stack.enter_context(job.loop())
                loop.resume()
                loops[name] = loop
            except RunError as error:
                failed[name] = error
        total, begun = (sum(get(loop) for loop in loops.values()) for get in (_total, _step))
        bar = stack.enter_context(progress_bar(total=total, initial=begun, desc="grid", unit="step", shown=progress))
        active = dict(loops)
        while active:
            going = {name: loop for name, loop in active.items() if not loop.done}  # some may lack the result only
            with execution(prepacked=next(iter(active.values())).prepacked):
                failed |= _step_together(model, going, rows_per_pass)
            bar.update(len(going))
            bar.set_postfix(runs=len(going), failed=len(failed), refresh=False)
            for name in [name for name, loop in active.items() if loop.done or name in failed]:
                loop = active.pop(name)
                bar.total -= loop.total - loop.step
                if name not in failed:
                    loop.close()
                    jobs[name].finish(loop)
                    results[name] = jobs[name].result()
    if failed:
        reasons = "; ".join(f"{name}: {error}" for name, error in failed.items())
        raise GridError(
            f"{len(failed)} of {len(runs)} runs failed, the others are finished in {str(folder)!r}. {reasons}", failed
        )
    return {name: results[name] for name in runs}


def _total(loop: Loop) -> int:
    return loop.total


def _step(loop: Loop) -> int:
    return loop.step


def _step_together(model: HookedModel, loops: Mapping[str, Loop], rows_per_pass: int) -> dict[str, RunError]:
    """Take one training step of every run; return the errors of runs that failed."""
    failed: dict[str, RunError] = {}
    for members in _alike(loops).values():
        begun = time.perf_counter()
        group = [loops[name] for name in members]
        passes = fill_passes([loop.prepare() for loop in group], rows_per_pass)
        checkpointing = group[0].config.gradient_checkpointing
        losses = accumulate_gradients(model, [loop.prompt for loop in group], passes, checkpointing)
        for name, loop, loss in zip(members, group, losses, strict=True):
            try:
                loop.update(loss, begun)
            except RunError as error:
                failed[name] = error
    return failed


def _alike(loops: Mapping[str, Loop]) -> dict[str, list[str]]:
    """Group the runs whose prompts can share a pass, that is, have the same kind, length and layers."""
    groups: dict[str, list[str]] = {}
    for name, loop in loops.items():
        settings = {"type": type(loop.prompt).__name__, **loop.prompt.settings()}
        settings["gradient_checkpointing"] = loop.config.gradient_checkpointing
        groups.setdefault(json.dumps(settings, sort_keys=True), []).append(name)
    return groups


def fill_passes(parts: Sequence[Sequence[Batch]], rows_per_pass: int) -> list[list[Portion]]:
    """Combine batches of several runs into passes of at most *rows_per_pass* records; no batch is divided."""
    passes: list[list[Portion]] = []
    rows = rows_per_pass
    for number, batch in [(number, batch) for number, mine in enumerate(parts) for batch in mine]:
        if rows + len(batch) > rows_per_pass or not passes:
            passes.append([])
            rows = 0
        passes[-1].append((number, batch))
        rows += len(batch)
    return passes
