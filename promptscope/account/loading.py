"""Load what an account needs (model, prompt, task) from the folder of a run, of a prompt or of a PEFT adapter."""

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
    """What `load_subject` returns: a prompt with its model and task.

    For a training run also `untrained`, the prompt before training (None otherwise), and `training`: how it was
    trained, as name -> value.

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
    """Load the prompt in *folder* with its model and task: a finished run, a saved prompt, or a PEFT adapter.

    Args:
        folder: where the run, the prompt or the adapter is.
        model: name of the model; by default the one that the folder names.
        task: name of the task; by default the run's own. Prompts and adapters do not name one, so they need it.
        task_path: file or folder of the task's records, see `ps.load_task`.
        which: of a run: `"last"`, the prompt after the last step, or `"best"`, that with the best validation score.
        device, dtype: how the model is loaded, see `ps.load_model`.
        known: a model in memory, used instead of loading it again if it is the one that is needed.

    Raises:
        RunError: a run that is not finished; no *task* for a prompt, or for a run whose task cannot be found; or
            *which* is neither of the two.
        PromptError: the folder names no model and *model* is None. Other errors as in `ps.load_prompt`, `ps.load_model`
            and `ps.load_task`.

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
            raise PromptError(
                f"{str(folder)!r} does not name the model that its prompt was made for: name "
                "it, model=... (--model NAME)"
            )
        if task is None:
            raise RunError(
                f"{str(folder)!r} holds a prompt, and a saved prompt does not name its task: "
                "name it, task=... (--task NAME)"
            )
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
            f"the task that the run {str(folder)!r} was trained on cannot be loaded ({error}): name "
            "another, task=... (--task NAME)"
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
        raise RunError(f"which (--prompt) must be 'last' or 'best', got {which!r}")
    prompt = run.prompt if which == "last" else run.best_prompt
    return Loaded(loaded, prompt, data, snapshots.get(0), training)
