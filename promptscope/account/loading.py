"""From the folder of a run, a prompt or a PEFT adapter to what an account is about."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptscope.checks import checked
from promptscope.errors import PromptError, PromptscopeError, RunError
from promptscope.models import HookedModel, load_model
from promptscope.prompts import Prompt, load_prompt
from promptscope.tasks import Task, load_task
from promptscope.training import Run
from promptscope.training.reload import reload_model, reload_task


@dataclass(frozen=True, eq=False)
class Loaded:
    """A prompt with its model and task; of a run also the untrained prompt and how it was trained.

    >>> import promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> Loaded(model, ps.SoftPrompt(4).bind(model), task).untrained is None
    True
    """

    model: HookedModel
    prompt: Prompt
    task: Task
    untrained: Prompt | None = None
    training: dict[str, Any] = field(default_factory=dict)


@checked()
def load_subject(
    folder: str | Path,
    model: str | None = None,
    task: str | None = None,
    task_path: str | Path | None = None,
    which: str = "last",
    device: str | None = None,
    dtype: str | None = None,
    known: HookedModel | None = None,
) -> Loaded:
    """Load what *folder* holds: a finished run, a saved prompt, or a PEFT adapter.

    Runs know their model and task; others need *task*, and *model* where they do not name it. *known*: a model that is
    loaded already, taken where it is the one that is asked for.

    Raises:
        RunError: a run still in training, or one whose task is gone and none was given.
        PromptError: no model is named. Others as `ps.load_prompt`, `ps.load_model` and `ps.load_task`.

    >>> import tempfile, promptscope as ps
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ps.SoftPrompt(4).bind(ps.load_model("embedded-causal")).save(folder)
    ...     loaded = load_subject(folder, task="continent_en")  # a saved prompt names its model, not its task
    >>> loaded.model.name, loaded.task.name
    ('embedded-causal', 'continent_en')
    """
    folder = Path(folder)
    is_run = (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file()
    if not is_run:
        prompt = load_prompt(folder)
        name = model or prompt.provenance.get("model")
        if name is None:
            raise PromptError(f"{str(folder)!r} does not say which model it is for: pass the model (--model)")
        if task is None:
            raise RunError(f"{str(folder)!r} is a prompt, which knows of no task: pass the task (--task NAME)")
        loaded = (
            known
            if known is not None and known.name == str(name)
            else load_model(str(name), device=device, dtype=dtype)
        )
        return Loaded(loaded, prompt, load_task(task, path=task_path))
    run = Run(folder)
    try:
        data = reload_task(run) if task is None else load_task(task, path=task_path)
    except PromptscopeError as error:
        if task is not None:
            raise
        raise RunError(
            f"the task of {str(folder)!r} is not there any more ({error}): pass one (--task NAME)"
        ) from error
    there = run.description["model"]
    same = known is not None and model is None and known.name == there["name"]
    loaded = known if same and known is not None else reload_model(run, model, device, dtype)
    training = {
        "trained on": run.description["task"]["name"],
        "steps": run.result.get("steps"),
        "learning rate": f"{run.config.learning_rate:g}",
        "seed": run.config.seed,
        "final loss": f"{run.result.get('final_loss', float('nan')):.3f}",
    }
    snapshots = run.snapshots
    if which not in ("last", "best"):
        raise RunError(f"--prompt must be last or best, not {which!r}")
    prompt = run.prompt if which == "last" else run.best_prompt
    return Loaded(loaded, prompt, data, snapshots.get(0), training)
