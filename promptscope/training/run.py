"""A run on disk: one trained prompt with its settings, history and provenance."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from promptscope.errors import RunError
from promptscope.files import read_json
from promptscope.prompts import Prompt, load_prompt
from promptscope.training.config import TrainConfig


class Run:
    """A finished run's folder.

    ```
    config.json              settings, model, prompt and task, written first
    history.csv              one row per step: loss, learning rate, norms, metrics
    checkpoint.safetensors   where an interrupted run goes on
    prompts/last, prompts/best, prompts/step-000000, ...
    result.json              written last: a folder without it is not a finished run
    ```
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if not (self.folder / "config.json").is_file():
            raise RunError(f"{str(folder)!r} is not a run: it has no config.json")
        if not (self.folder / "result.json").is_file():
            raise RunError(
                f"the run in {str(folder)!r} is not finished: call ps.train with the same settings and out folder "
                "(or the same `promptscope train` command) and it goes on where it stopped"
            )

    def __repr__(self) -> str:
        result = self.result
        return f"Run({str(self.folder)!r}, steps={result['steps']}, final_loss={result['final_loss']:.4g})"

    @cached_property
    def description(self) -> dict[str, Any]:
        """What `config.json` says: settings, model, prompt and task."""
        return read_json(self.folder / "config.json")

    @property
    def config(self) -> TrainConfig:
        """The settings."""
        return TrainConfig.from_json(self.description["config"])

    @cached_property
    def result(self) -> dict[str, Any]:
        """What `result.json` says: steps, final loss, best metric, seconds, versions, truncated records."""
        return read_json(self.folder / "result.json")

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per step; evaluation columns are NaN where nothing was evaluated."""
        return pd.read_csv(self.folder / "history.csv", float_precision="round_trip")

    @property
    def prompt(self) -> Prompt:
        """The prompt after the last step."""
        return load_prompt(self.folder / "prompts" / "last")

    @property
    def best_prompt(self) -> Prompt:
        """The prompt with the best validation metric; needs `evaluate_every`."""
        folder = self.folder / "prompts" / "best"
        if not folder.is_dir():
            raise RunError("this run was not evaluated along the way: train with evaluate_every to get a best prompt")
        return load_prompt(folder)

    @property
    def snapshots(self) -> dict[int, Prompt]:
        """Prompts along the way, by step; needs `snapshot_every`."""
        folders = sorted((self.folder / "prompts").glob("step-*"))
        return {int(folder.name.removeprefix("step-")): load_prompt(folder) for folder in folders}
