"""A run on disk: one trained prompt with its settings, history and provenance."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from promptscope.cards import card, curve
from promptscope.checks import checked
from promptscope.errors import PromptError, RunError
from promptscope.files import read_sealed, sha256_file
from promptscope.prompts import Prompt, load_prompt
from promptscope.prompts.saving import saved_hash
from promptscope.training.config import TrainConfig
from promptscope.training.folder import is_finished, read_description, run_hash
from promptscope.training.history import read_rows


class Run:
    """A finished run: a trained prompt with its settings, history and provenance, read from its folder.

    ```
    config.json              settings, model, prompt and task; written first
    history.csv              one row for each step: loss, learning rate, norms, metrics
    checkpoint.safetensors   the state from which an interrupted run continues
    prompts/last, prompts/best, prompts/step-000000, ...
    result.json              written last; a folder without it is not a finished run
    ```

    Raises:
        RunError: the folder is not a run, its run is not finished, or its files are damaged or of several runs.

    >>> import tempfile, promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = ps.train(model, ps.SoftPrompt(4), task, ps.TrainConfig(steps=2, batch_size=4), folder, progress=False)
    ...     run = ps.load_run(folder)  # later, in another program
    ...     run.history["step"].tolist(), run.prompt.length
    ([1, 2], 4)
    """

    @checked()
    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.description: dict[str, Any] = read_description(self.folder)
        """The content of `config.json`: settings, model, prompt and task."""
        if not is_finished(self.folder):
            raise RunError(
                f"the run in {str(folder)!r} is not finished: to continue it, call ps.train with the same settings and "
                "out folder (or repeat the `promptscope train` command)"
            )
        if self.result.get("run", now := run_hash(self.folder)) != now:
            raise RunError(self._mixed("result.json"))

    def __repr__(self) -> str:
        result = self.result
        return f"Run({str(self.folder)!r}, steps={result['steps']}, final_loss={result['final_loss']:.4g})"

    def _repr_html_(self) -> str:
        result, about = self.result, self.description
        facts = {
            "prompt, task": f"{about['prompt']['type']}, {about['task']['name']}",
            "model": about["model"].get("name"),
            "steps": f"{result['steps']:,} in {result['seconds']:.0f} s",
            "final loss": f"{result['final_loss']:.4g} nats a token",
            "best validation": result.get("best_validation"),
            "folder": self.folder,
        }
        return card("Run", facts, curve(self.history["loss"].tolist()))

    @property
    def config(self) -> TrainConfig:
        """The training settings."""
        return TrainConfig.from_json(self.description["config"])

    @cached_property
    def result(self) -> dict[str, Any]:
        """The content of `result.json`: steps, final loss, best metric, seconds, versions, truncated records."""
        try:
            result = read_sealed(self.folder / "result.json")
            if not isinstance(result, dict) or not {"steps", "final_loss", "seconds"} <= set(result):
                raise ValueError("it is no result of a run")
        except (OSError, ValueError) as error:
            raise RunError(
                f"result.json in {str(self.folder)!r} is damaged ({error}): delete the run's folder and train again"
            ) from error
        return result

    @cached_property
    def history(self) -> pd.DataFrame:
        """A table with one row for each step.

        Columns: `step` (counted from 1), `epoch`, `loss` (nats per target token, before the update), `learning_rate`,
        `grad_norm` (L2, before clipping), `prompt_norm` (mean L2 norm of the prompt's vectors, after the update),
        `seconds` since the start, and `validation_*` for the metrics, which are NaN at steps without evaluation.

        Raises:
            RunError: the file is missing or damaged.
        """
        path = self.folder / "history.csv"
        rows = read_rows(path)
        if len(rows) != self.result["steps"]:
            raise RunError(
                f"history.csv in {str(self.folder)!r} has {len(rows)} rows, expected one for each of "
                f"{self.result['steps']} steps: it is damaged. Delete the run's folder and train again"
            )
        if sha256_file(path) != self.result.get("history_sha256", sha256_file(path)):
            raise RunError(
                f"{str(path)!r} is damaged: it differs from what was written at the end of the run. Delete the run's "
                "folder and train again"
            )
        return pd.DataFrame(rows)

    @property
    def prompt(self) -> Prompt:
        """The prompt after the last step."""
        return self._load("last")

    @property
    def best_prompt(self) -> Prompt:
        """The prompt with the best first metric on the split `validation`; of equal ones, the earliest.

        Raises:
            RunError: the run was trained without `evaluate_every`.
        """
        if not (self.folder / "prompts" / "best").is_dir():
            raise RunError(
                "this run has no best prompt, as it was trained without evaluations: train with evaluate_every"
            )
        return self._load("best")

    @property
    def snapshots(self) -> dict[int, Prompt]:
        """Prompts during training, by step; empty if the run was trained without `snapshot_every`.

        Raises:
            RunError: one is missing, damaged or another's.
        """
        names = sorted(path.name for path in (self.folder / "prompts").glob("step-*"))
        if wrong := [name for name in names if not name.removeprefix("step-").isdecimal()]:
            raise RunError(f"{str(self.folder / 'prompts' / wrong[0])!r} is no prompt of this run: put it elsewhere")
        left = [name for name in self.result.get("prompts", {}) if name.startswith("step-")]
        if gone := sorted({*left} - {*names}):
            raise RunError(
                f"{str(self.folder)!r} has no prompts/{gone[0]}, which training left there: put it back, or delete the "
                "run's folder and train again"
            )
        return {int(name.removeprefix("step-")): self._load(name) for name in names}

    def _load(self, name: str) -> Prompt:
        """Load the prompt in `prompts/NAME`, which must be the one that this run left there."""
        folder = self.folder / "prompts" / name
        try:
            prompt = load_prompt(folder)
        except PromptError as error:  # this run's failure, of which the others of a grid know nothing
            raise RunError(
                f"{error}. Put the right one back, or delete the run's folder {str(self.folder)!r} and train again"
            ) from error
        if "prompts" in self.result and self.result["prompts"].get(name) != saved_hash(folder):
            raise RunError(self._mixed(f"prompts/{name}"))
        return prompt

    def _mixed(self, name: str) -> str:
        return (
            f"{name} in {str(self.folder)!r} is of another run, or of another step: put the right one back, or delete "
            "the run's folder and train again"
        )


@checked()
def load_run(folder: str | os.PathLike[str]) -> Run:
    """Load a finished run from the folder that `ps.train(..., out=folder)` or `promptscope train` wrote.

    Raises:
        RunError: the folder is not a run, or its run is not finished or is damaged.

    >>> import tempfile, promptscope as ps
    >>> model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = ps.train(model, ps.SoftPrompt(4), task, ps.TrainConfig(steps=1, batch_size=2), folder, progress=False)
    ...     ps.load_run(folder).history.equals(run.history)
    True
    """
    return Run(folder)
