"""Training one soft prompt on one task."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm.auto import tqdm

from promptscope.errors import PromptError, RunError, TaskError
from promptscope.files import read_json, write_json, write_text
from promptscope.models import HookedModel
from promptscope.prompts import Prompt
from promptscope.prompts.initialisation import Labels
from promptscope.prompts.saving import versions
from promptscope.tasks import Encoded, Task, collate
from promptscope.training.batches import encode_split, pad_id
from promptscope.training.checkpoint import read_checkpoint, write_checkpoint
from promptscope.training.config import TrainConfig
from promptscope.training.evaluate import evaluate
from promptscope.training.objective import target_losses
from promptscope.training.order import batch_indices
from promptscope.training.run import Run
from promptscope.training.schedule import learning_rate_factor


def train(
    model: HookedModel,
    prompt: Prompt,
    task: Task,
    config: TrainConfig,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Run:
    """Train *prompt* on the `train` split of *task*, in place, and return the run.

    Minimises the mean cross-entropy over label and end tokens (Lester et al. 2021, section 2; the multilingual-GPT
    paper, eq. 1 and 2). The model is frozen. With *out*, the run is kept in that folder: the same call goes on with an
    interrupted run, bit for bit as if it had not stopped (same machine), and returns a finished one at once.

    Raises:
        RunError: *out* holds a run with other settings; or loss, gradient or prompt stopped being finite (the last
            good prompt is kept).

    >>> model = load_model("embedded-causal")
    >>> prompt = DeepPrompt(length=4)
    >>> run = train(model, prompt, load_task("continent_en"), TrainConfig(steps=2), progress=False)
    >>> len(run.history)
    2
    """
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="promptscope-run-"))
    prompt = _bind(prompt, model, task)
    examples = encode_split(model, task, "train", prompt, config.max_length)
    description = _describe(model, prompt, task, config)
    _claim(folder, description, prompt)
    if (folder / "result.json").is_file():
        run = Run(folder)
        prompt.load_state_dict(run.prompt.state_dict())
        return run
    prompt.provenance |= {
        "task": task.name,
        "data_hash": task.data_hash("train"),
        "train_seed": config.seed,
        "start": description["prompt"]["start"],
    }
    _Trainer(model, prompt, task, config, folder, list(examples), progress).run(
        {"n_train": len(examples), "n_truncated": examples.n_truncated}
    )
    return Run(folder)


class _Trainer:
    """The state of a training loop; everything that a checkpoint has to carry is here."""

    def __init__(
        self,
        model: HookedModel,
        prompt: Prompt,
        task: Task,
        config: TrainConfig,
        folder: Path,
        examples: Sequence[Encoded],
        progress: bool,
    ) -> None:
        self.model, self.prompt, self.task, self.config = model, prompt, task, config
        self.folder, self.examples, self.progress = folder, examples, progress
        kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
        self.optimizer = kinds[config.optimizer](
            prompt.parameters(), lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
        )
        per_epoch = -(-len(examples) // (config.batch_size * config.accumulation))
        self.total = config.steps or max(1, round((config.epochs or 0) * per_epoch))
        self.history: list[dict[str, float]] = []
        self.best: float | None = None
        self.seconds = 0.0

    def run(self, counts: dict[str, int]) -> None:
        start = self._resume()
        bar = tqdm(total=self.total, initial=start, desc=f"train {self.task.name}", disable=not self.progress)
        with bar:
            if start == 0:
                self._snapshot(0)
            for step in range(start, self.total):
                begun = time.perf_counter()
                row = self._step(step)
                done = step + 1
                self._snapshot(done)
                if self.config.evaluate_every and (done % self.config.evaluate_every == 0 or done == self.total):
                    row |= self._evaluate(step)
                self.seconds += time.perf_counter() - begun
                row["seconds"] = self.seconds
                self.history.append(row)
                if done % self.config.checkpoint_every == 0:
                    self._checkpoint(done)
                bar.set_postfix(_postfix(row, self.best), refresh=False)
                bar.update()
        self._finish(counts)

    def _step(self, step: int) -> dict[str, float]:
        config = self.config
        factor = learning_rate_factor(step, self.total, config.warmup_steps, config.schedule)
        rate = config.learning_rate * factor
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        chosen = [
            batch_indices(len(self.examples), config.batch_size, config.seed, step * config.accumulation + part)
            for part in range(config.accumulation)
        ]
        batches = [
            collate([self.examples[i] for i in indices], pad_id(self.model)).to(self.model.device) for indices in chosen
        ]
        n_targets = sum(int((batch.targets != -100).sum()) for batch in batches)
        self.optimizer.zero_grad(set_to_none=True)
        loss = 0.0
        for batch in batches:
            part = target_losses(self.model, batch, self.prompt).sum() / n_targets
            part.backward()
            loss += part.item()
        limit = config.max_grad_norm if config.max_grad_norm is not None else float("inf")
        gradient = torch.nn.utils.clip_grad_norm_(self.prompt.parameters(), limit).item()
        # Checked before the update, so that the prompt in memory is still the last good one.
        if not (_finite(loss) and _finite(gradient)):
            self._stop(step, loss, gradient, rate, [name for batch in batches for name in batch.ids])
        self.optimizer.step()
        per_epoch = len(self.examples) / (config.batch_size * config.accumulation)
        return {
            "step": step + 1,
            "epoch": (step + 1) / per_epoch,
            "loss": loss,
            "learning_rate": rate,
            "grad_norm": gradient,
            "prompt_norm": _norm(self.prompt),
        }

    def _stop(self, step: int, loss: float, gradient: float, rate: float, ids: list[str]) -> None:
        self.prompt.save(self.folder / "prompts" / "last")
        self._write_history()
        raise RunError(
            f"training stopped at step {step + 1} of {self.total}: loss {loss}, gradient norm {gradient}, learning "
            f"rate {rate:.3g}, records {', '.join(ids[:8])}{' ...' if len(ids) > 8 else ''}. The prompt before this "
            f"step is in {str(self.folder / 'prompts' / 'last')!r}. Lower the learning rate, clip with max_grad_norm, "
            "or train in float32"
        )

    def _evaluate(self, step: int) -> dict[str, float]:
        scores = evaluate(
            self.model,
            self.task,
            self.prompt,
            split="validation",
            batch_size=self.config.batch_size,
            limit=self.config.evaluate_limit,
            max_length=self.config.max_length,
            progress=False,
        )
        metric = next(iter(scores))
        if self.best is None or scores[metric] > self.best:
            self.best = scores[metric]
            self._describe_history(step + 1)
            self.prompt.save(self.folder / "prompts" / "best")
        return {f"validation_{name}": value for name, value in scores.items()}

    def _snapshot(self, done: int) -> None:
        every = self.config.snapshot_every
        if every and (done % every == 0 or done == self.total):
            self._describe_history(done)
            self.prompt.save(self.folder / "prompts" / f"step-{done:06d}")

    def _describe_history(self, done: int) -> None:
        self.prompt.provenance["history"] = {
            "steps": done,
            "loss": self.history[-1]["loss"] if self.history else None,
            "best_validation": self.best,
        }

    def _checkpoint(self, done: int) -> None:
        # History first: rows beyond the checkpoint are dropped on resuming, missing ones could not be made up.
        self._write_history()
        write_checkpoint(
            self.folder / "checkpoint.safetensors",
            self.prompt,
            self.optimizer,
            {"step": done, "best": self.best, "seconds": self.seconds, "data_seed": self.config.seed},
        )

    def _resume(self) -> int:
        path = self.folder / "checkpoint.safetensors"
        if not path.is_file():
            return 0
        progress = read_checkpoint(path, self.prompt, self.optimizer)
        self.best, self.seconds = progress["best"], progress["seconds"]
        rows = pd.read_csv(self.folder / "history.csv", float_precision="round_trip")
        kept = rows[rows["step"] <= progress["step"]].to_dict("records")
        self.history = [{str(name): value for name, value in row.items() if value == value} for row in kept]
        return progress["step"]

    def _write_history(self) -> None:
        write_text(self.folder / "history.csv", pd.DataFrame(self.history).to_csv(index=False))

    def _finish(self, counts: dict[str, int]) -> None:
        self._describe_history(self.total)
        self.prompt.save(self.folder / "prompts" / "last")
        self._checkpoint(self.total)
        result: dict[str, Any] = {
            "steps": self.total,
            "final_loss": self.history[-1]["loss"],
            "best_validation": self.best,
            "n_parameters": self.prompt.n_parameters,
            "seconds": self.seconds,
            "device": str(self.model.device),
            "threads": torch.get_num_threads(),
            "versions": versions(),
            **counts,
        }
        write_json(self.folder / "result.json", result)


def _bind(prompt: Prompt, model: HookedModel, task: Task) -> Prompt:
    if not prompt.is_bound and isinstance(prompt.init, Labels) and prompt.init.words is None:
        if task.verbalizer is None:
            raise TaskError(f"init 'labels' needs a task with label words, and {task.name!r} has none: name the words")
        words = tuple(task.verbalizer.word(label) for label in task.verbalizer.labels)
        prompt.init = dataclasses.replace(prompt.init, words=words)
    prompt.bind(model).train()
    if not prompt.n_parameters:
        raise PromptError("the prompt has nothing to train")
    return prompt


def _describe(model: HookedModel, prompt: Prompt, task: Task, config: TrainConfig) -> dict[str, Any]:
    return {
        "config": config.to_json(),
        "model": {
            "name": model.name,
            "revision": model.revision,
            "embedding_hash": model.embedding_hash,
            "dtype": str(model.dtype),
        },
        "prompt": {"type": type(prompt).__name__, "settings": prompt.settings(), "start": prompt.content_hash()},
        "task": {"name": task.name, "data_hash": task.data_hash("train")},
    }


def _claim(folder: Path, description: dict[str, Any], prompt: Prompt) -> None:
    """Begin a run in *folder*, or check that the run in it is this one."""
    path = folder / "config.json"
    if not path.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RunError(f"{str(folder)!r} exists and is not a run: name a new or empty folder")
        write_json(path, description)
        return
    before = read_json(path)
    if prompt.provenance.get("start") == before.get("prompt", {}).get("start"):
        # The prompt that this very run was training when it was interrupted, as in a notebook.
        description["prompt"]["start"] = prompt.provenance["start"]
    differences = [
        f"{part}.{name}: {before.get(part, {}).get(name)!r} there, {value!r} now"
        for part, values in description.items()
        for name, value in values.items()
        if before.get(part, {}).get(name) != value
    ]
    if differences:
        raise RunError(
            f"{str(folder)!r} holds a run with other settings ({'; '.join(differences)}): name another folder, or "
            "delete it"
        )


def _finite(value: float) -> bool:
    return abs(value) < float("inf")


def _norm(prompt: Prompt) -> float:
    """Return the mean L2 norm of the prompt's vectors (last dimension), over positions, layers and roles."""
    with torch.no_grad():
        return torch.cat([p.float().norm(dim=-1).flatten() for p in prompt.parameters()]).mean().item()


def _postfix(row: dict[str, float], best: float | None) -> dict[str, str]:
    shown = {"loss": f"{row['loss']:.3f}"}
    return shown | ({"best": f"{best:.3f}"} if best is not None else {})
