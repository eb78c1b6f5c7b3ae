"""Training of one soft prompt on one task."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from promptscope.checks import checked
from promptscope.engine import matmul
from promptscope.errors import PromptError, RunError, TaskError
from promptscope.inference.batches import check_padding, encode_split
from promptscope.inference.evaluate import Evaluator
from promptscope.models import Hook, HookedModel
from promptscope.models.identity import is_known, tokenizer_hash
from promptscope.prompts import Prompt
from promptscope.prompts.initialisation import Labels
from promptscope.prompts.saving import need_saver
from promptscope.tasks import Task
from promptscope.training.config import TrainConfig
from promptscope.training.folder import (
    check_same,
    claim,
    has_checkpoint,
    is_finished,
    read_description,
    temporary_folder,
)
from promptscope.training.loop import Loop
from promptscope.training.reload import model_source, task_description
from promptscope.training.run import Run


@checked()
def train(
    model: HookedModel,
    prompt: Prompt,
    task: Task,
    config: TrainConfig,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
    hooks: Sequence[Hook] = (),
) -> Run:
    """Train *prompt* on the `train` split of *task*, with the model frozen, and return the run.

    The prompt object is changed. Training minimises the mean cross-entropy in nats over all label and end tokens y of
    the records, `-mean log p(y | prompt, text, earlier y)` (Lester et al. 2021, section 2; *Toward the explainable soft
    prompts*, equations 1 and 2).

    Args:
        model: a hooked model.
        prompt: a soft prompt; it is bound to the model if it has no parameters yet.
        task: the task; with `config.evaluate_every`, it needs a split `validation`.
        config: steps, learning rate and so on.
        out: a folder for the run. The same call again continues an interrupted run, with bit for bit the result of an
            uninterrupted one on the same machine, and returns a finished run without training. Without *out*, the run
            is kept until the process ends.
        progress: whether to show a progress bar.
        hooks: hooks for this call, in addition to attached ones, see `model.hooks`.

    Raises:
        RunError: *out* holds something else or a run with other settings, another process is training in it, or loss,
            gradient or prompt became NaN or infinite (the last finite prompt is saved).
        PromptError: the prompt does not fit the model.
        TaskError: the task cannot be encoded for the model, or lacks a split.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> prompt = ps.DeepPrompt(length=4)
    >>> run = ps.train(model, prompt, ps.load_task("continent_en"), ps.TrainConfig(steps=2), progress=False)
    >>> len(run.history)
    2
    """
    folder = Path(out) if out is not None else temporary_folder("promptscope-run-")
    with model.turn(hooks), torch.enable_grad():
        job = Job(model, prompt, task, config, folder)
        if not job.finished:
            with job.loop() as loop:
                loop.run(f"train {task.name}", progress)
                job.finish(loop)
        return job.result()


class Job:
    """One run to be trained; it is checked and described before anything is written."""

    def __init__(self, model: HookedModel, prompt: Prompt, task: Task, config: TrainConfig, folder: Path) -> None:
        self.model, self.task, self.config, self.folder = model, task, config, folder
        self.prompt = _bind(prompt, model, task)
        check_padding(model, config.padding)
        self.description = self.describe()
        self._check_hooks()
        _recognise(folder, self.prompt, self.description)
        check_same(folder, self.description)

    def _check_hooks(self) -> None:
        """Raise RunError if the folder holds a run and a hook is attached that cannot be identified."""
        described = self.description.get("models", {"": self.description["model"]}).values()
        if (self.folder / "config.json").is_file() and not all(map(is_known, described)):
            raise RunError(
                f"{str(self.folder)!r} holds a run, and whether it is this one cannot be told: a hook is attached "
                "whose code cannot be hashed. Set fn.identity = '...' on the hook's function, or give another folder"
            )

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return the description of everything that determines the run."""
        return _describe(self.model, self.prompt, self.task, self.config)

    @property
    def finished(self) -> bool:
        """Whether the folder already holds this run, finished."""
        return is_finished(self.folder)

    @contextmanager
    def loop(self) -> Iterator[Loop]:
        """Encode the data, lock the folder, and yield the training loop."""
        # All that can be wrong with the data is found before a folder is made.
        self.examples = encode_split(self.model, self.prompt, self.task, "train", max_length=self.config.max_length)
        validation = _evaluator(self.model, self.prompt, self.task, self.config)
        with claim(self.folder, self.description), self._random_numbers():
            self.prompt.provenance |= {
                "task": self.task.name,
                "data_hash": self.description["task"]["data_hash"],
                "train_seed": self.config.seed,
                "start": self.description["prompt"]["start"],
            }
            try:
                yield Loop(self.model, self.prompt, self.examples, validation, self.config, self.folder)
            finally:
                self.prompt.provenance["left_as"] = self.prompt.content_hash()

    def _random_numbers(self) -> AbstractContextManager[None]:
        """Restore the caller's random state after a run that continues with that of its checkpoint."""
        if not has_checkpoint(self.folder):
            return nullcontext()
        device = self.model.device
        return torch.random.fork_rng([device] if device.type == "cuda" else [])

    def finish(self, loop: Loop) -> None:
        """Write the result, which marks the run as finished."""
        loop.write_result({"n_train": len(self.examples), "n_truncated": self.examples.n_truncated})

    def result(self) -> Run:
        """Return the finished run; the caller's prompt object gets the parameters after the last step."""
        run = Run(self.folder)
        finished, _ = run.prompt, run.history  # both are read now: what is damaged is said here, not when it is needed
        self.prompt.load_state_dict(finished.state_dict())
        self.prompt.provenance = finished.provenance
        return run


def _bind(prompt: Prompt, model: HookedModel, task: Task) -> Prompt:
    if not prompt.is_bound and isinstance(prompt.init, Labels) and prompt.init.words is None:
        if task.verbalizer is None:
            raise TaskError(
                f"init 'labels' needs a task with label words, and {task.name!r} has none: give the words, 'labels:A,B'"
            )
        words = tuple(task.verbalizer.word(label) for label in task.verbalizer.labels)
        prompt.init = dataclasses.replace(prompt.init, words=words)
    need_saver(prompt)
    prompt.bind(model).train()
    if not any(parameter.requires_grad for parameter in prompt.parameters()):
        frozen = " (requires_grad is False for all of its parameters)" if prompt.n_parameters else ""
        raise PromptError(f"the prompt has nothing to train{frozen}")
    return prompt


def _evaluator(model: HookedModel, prompt: Prompt, task: Task, config: TrainConfig) -> Evaluator | None:
    if not config.evaluate_every:
        return None
    limits = (config.batch_size, config.evaluate_limit, config.max_length)
    return Evaluator(model, prompt, task, "validation", *limits, padding=config.padding)


def _describe(model: HookedModel, prompt: Prompt, task: Task, config: TrainConfig) -> dict[str, dict[str, Any]]:
    """Return everything that determines a run, and the sources of model and task; see `check_same`."""
    validation = task.data_hash("validation") if config.evaluate_every else None
    # Runs in float32 say nothing of it, as before there was anything else.
    rounded = {} if matmul(model) == "float32" else {"execution": {"matmul": matmul(model)}}
    return rounded | {
        "config": config.to_json(),
        "model": {
            "name": model.name,
            "source": model_source(model.name),
            "revision": model.revision,
            "tokenizer_hash": tokenizer_hash(model.tokenizer),
            **model.identity,
        },
        "prompt": {"type": type(prompt).__name__, "settings": prompt.settings(), "start": prompt.content_hash()},
        "task": {
            "name": task.name,
            "data_hash": task.data_hash("train"),
            "validation_hash": validation,
            **task_description(task),
        },
    }


def _recognise(folder: Path, prompt: Prompt, description: dict[str, dict[str, Any]]) -> None:
    """Restore the start of *prompt* if its parameters are those of the interrupted run in *folder*.

    This is so after an interrupt in a notebook, when the same cell is run again. A prompt that was edited since is
    another prompt.
    """
    start = prompt.provenance.get("start")
    if start is None or not (folder / "config.json").is_file():
        return
    now = prompt.content_hash()
    if prompt.provenance.get("left_as", now) != now:
        return
    if start == read_description(folder)["prompt"]["start"]:
        description["prompt"]["start"] = start
