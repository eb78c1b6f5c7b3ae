"""The training loop: steps, evaluations, snapshots, and checkpoints from which it continues."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from promptscope.engine import can_prepack, execution, notice_edits, uses_prepacked
from promptscope.errors import ModelError, PromptError, RunError
from promptscope.files import sha256_file, write_sealed
from promptscope.inference.batches import batches
from promptscope.inference.evaluate import Evaluator
from promptscope.models import HookedModel
from promptscope.progress import progress_bar
from promptscope.prompts import Prompt
from promptscope.prompts.saving import saved_hash, versions
from promptscope.tasks import Batch, Encoded
from promptscope.training.checkpoint import read_checkpoint, write_checkpoint
from promptscope.training.config import TrainConfig
from promptscope.training.folder import run_hash
from promptscope.training.gradient import accumulate_gradient
from promptscope.training.history import Row, history_hash, read_rows, write_history
from promptscope.training.order import batch_indices, batches_per_epoch
from promptscope.training.schedule import learning_rate_factor


class Loop:
    """The training loop of one run in its folder; its checkpoint holds everything that changes between steps.

    A step has two parts: `prepare` returns the records, and `update` takes the loss and the prompt's gradient. Between
    them, gradients of several runs can be computed together.
    """

    def __init__(
        self,
        model: HookedModel,
        prompt: Prompt,
        examples: Sequence[Encoded],
        validation: Evaluator | None,
        config: TrainConfig,
        folder: Path,
    ) -> None:
        self.model, self.prompt, self.examples, self.validation = model, prompt, examples, validation
        self.config, self.folder = config, folder
        self.batch_size = config.batch_size * config.accumulation
        self.per_epoch = batches_per_epoch(len(examples), self.batch_size)
        self.total = config.n_steps(len(examples))
        kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
        self.optimizer = kinds[config.optimizer](
            prompt.parameters(), lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
        )
        self.history: list[Row] = []
        self.saved: dict[str, str] = {}  # the content of each folder of prompts
        self.best: float | None = None
        self.stale = 0  # evaluations since the best one
        self.seconds = 0.0
        notice_edits(model.twin)
        self.prepacked = uses_prepacked(model)
        self.step = 0
        self.parts: list[Batch] = []
        self.good: list[Tensor] | None = None  # the numbers with which loss and gradient were last finite

    def run(self, label: str, progress: bool) -> None:
        """Train from the last checkpoint, or from the start, to the end.

        Raises:
            RunError: loss, gradient or prompt became NaN or infinite.
        """
        self.resume()
        shown: dict[str, str] = {}
        with (
            progress_bar(total=self.total, initial=self.step, desc=label, unit="step", shown=progress) as bar,
            execution(prepacked=self.prepacked),
        ):
            while not self.done:
                begun = time.perf_counter()
                parts = self.prepare()
                loss = accumulate_gradient(self.model, self.prompt, parts, self.config.gradient_checkpointing)
                shown |= self.update(loss, begun)
                bar.set_postfix(shown, refresh=False)
                bar.update()
        self.close()

    @property
    def done(self) -> bool:
        """Whether all steps are done, or early stopping has ended the run."""
        patience = self.config.patience
        return self.step >= self.total or (patience is not None and self.stale >= patience)

    def close(self) -> None:
        """Save the prompt after the last step."""
        self._save(self.step, "last")
        self._checkpoint(self.step)

    def write_result(self, counts: dict[str, int]) -> None:
        """Write `result.json`, which marks the run as finished."""
        result: dict[str, Any] = {
            "steps": self.step,
            "stopped_early": self.step < self.total,
            "final_loss": self.history[-1]["loss"],
            "best_validation": self.best,
            "n_parameters": self.prompt.n_parameters,
            "seconds": self.seconds,
            "device": str(self.model.device),
            "threads": torch.get_num_threads(),
            "prepacked": self.prepacked,
            "versions": versions(),
            "run": run_hash(self.folder),
            "history_sha256": sha256_file(self.folder / "history.csv"),
            "prompts": self.saved,
            **counts,
        }
        write_sealed(self.folder / "result.json", result)

    # --- one step ------------------------------------------------------------------------------------

    def prepare(self) -> list[Batch]:
        """Return the batches of the next step, and set the gradient to zero."""
        # The order is that of the whole batch: (batch_size, accumulation) = (4, 2) then trains as (8, 1) does.
        indices = batch_indices(len(self.examples), self.batch_size, self.config.seed, self.step)
        examples = [self.examples[i] for i in indices]
        self.parts = list(batches(self.model, examples, self.config.batch_size, padding=self.config.padding))
        self.optimizer.zero_grad(set_to_none=True)
        return self.parts

    def update(self, loss: float, begun: float) -> dict[str, str]:
        """Take the optimiser step, then evaluate and save as the settings say; return the text of the progress bar.

        *loss* is that of the step, *begun* its start by `time.perf_counter`.
        """
        row = self._descend(loss)
        self.history.append(row)
        self.step += 1
        self._snapshot(self.step)
        row |= self._evaluate(self.step)
        self.seconds += time.perf_counter() - begun
        row["seconds"] = self.seconds
        if self.step % self.config.checkpoint_every == 0:
            self._checkpoint(self.step)
        return _shown(row)

    def _descend(self, loss: float) -> Row:
        step, config = self.step, self.config
        rate = config.learning_rate * learning_rate_factor(step, self.total, config.warmup_steps, config.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        limit = math.inf if config.max_grad_norm is None else config.max_grad_norm
        gradient = torch.nn.utils.clip_grad_norm_(self.prompt.parameters(), limit).item()
        if not (math.isfinite(loss) and math.isfinite(gradient)):
            self._stop(step, f"loss {loss}, gradient norm {gradient}", rate, self.parts)
        self.good = [parameter.detach().clone() for parameter in self.prompt.parameters()]
        try:
            self.optimizer.step()
        except RuntimeError as error:  # numbers that the parameters' type cannot hold
            self._stop(step, f"loss {loss}, and the optimizer cannot take the step ({error})", rate, self.parts)
        norm = _norm(self.prompt, self.model)
        if not math.isfinite(norm):
            self._stop(step, f"loss {loss}, but the prompt's norm is not finite after the update", rate, self.parts)
        return {
            "step": step + 1,
            "epoch": (step + 1) / self.per_epoch,
            "loss": loss,
            "learning_rate": rate,
            "grad_norm": gradient,
            "prompt_norm": norm,
        }

    def _stop(self, step: int, what: str, rate: float, parts: Sequence[Batch]) -> NoReturn:
        # A non-finite loss is the work of the update before: go back to the numbers before that one.
        last = self._prompts("last")
        if self.good is not None:
            with torch.no_grad():
                for parameter, good in zip(self.prompt.parameters(), self.good, strict=True):
                    parameter.copy_(good)
        if self.good is not None or not last.is_dir():  # after a restart, an earlier stop knows better
            self._save(step, "last")
        write_history(self.folder / "history.csv", self.history)
        ids = [name for batch in parts for name in batch.ids]
        raise RunError(
            f"training stopped at step {step + 1} of {self.total}: {what}; learning rate {rate:.3g}, records "
            f"{', '.join(ids[:8])}{f' and {len(ids) - 8} more' if len(ids) > 8 else ''}. The last good prompt is in "
            f"{str(last)!r}. Lower the learning rate, clip with max_grad_norm, or train in float32"
        )

    # --- along the way -------------------------------------------------------------------------------

    def _evaluate(self, done: int) -> Row:
        every = self.config.evaluate_every
        if self.validation is None or not every or (done % every and done != self.total):
            return {}
        try:
            scores = self.validation.scores(progress=False)
        except (ModelError, PromptError) as error:  # of this run: others of a grid go on
            raise RunError(f"the evaluation after step {done} of {self.total} failed: {error}") from error
        score = next(iter(scores.values()))
        self.stale += 1
        if math.isfinite(score) and (self.best is None or score > self.best):
            self.best, self.stale = score, 0
            self._save(done, "best")
        return {f"validation_{name}": value for name, value in scores.items()}

    def _snapshot(self, done: int) -> None:
        every = self.config.snapshot_every
        if every and (done % every == 0 or done == self.total):
            self._save(done, f"step-{done:06d}")

    def _save(self, done: int, name: str) -> None:
        """Save the prompt as it is after *done* steps to `prompts/NAME`."""
        self.prompt.provenance["history"] = {
            "steps": done,
            "loss": self.history[-1]["loss"] if self.history else None,
            "best_validation": self.best,
        }
        self.prompt.provenance["left_as"] = self.prompt.content_hash()
        self.prompt.save(self._prompts(name))
        self.saved[name] = saved_hash(self._prompts(name))

    def _prompts(self, name: str) -> Path:
        return self.folder / "prompts" / name

    # --- stopping and going on -----------------------------------------------------------------------

    def _checkpoint(self, done: int) -> None:
        # History first: rows beyond the checkpoint are dropped on resuming, missing ones could not be made up.
        write_history(self.folder / "history.csv", self.history)
        progress: dict[str, Any] = {"step": done, "best": self.best, "stale": self.stale, "seconds": self.seconds}
        progress |= {"prepacked": self.prepacked, "history": history_hash(self.history)}
        progress |= {"run": run_hash(self.folder), "prompts": self.saved}
        write_checkpoint(self.folder / "checkpoint.safetensors", self.prompt, self.optimizer, progress)

    def resume(self) -> None:
        """Continue from the last checkpoint; if there is none, write the first one."""
        path = self.folder / "checkpoint.safetensors"
        if not path.is_file():
            self._snapshot(0)
            # The caller's prompt changes from here on: an interrupted call must find its start again.
            self._checkpoint(0)
            return
        progress = read_checkpoint(path, self.prompt, self.optimizer, run_hash(self.folder))
        self.saved = progress.get("prompts", {})
        self.best, self.stale, self.seconds = progress["best"], progress["stale"], progress["seconds"]
        # Not measured again: with another kernel the last bits would differ. Another machine may not have it.
        self.prepacked = progress["prepacked"] and can_prepack(self.model.twin)
        self.step = progress["step"]
        self.history = read_rows(self.folder / "history.csv")[: self.step]
        if history_hash(self.history) != progress.get("history", history_hash(self.history)):
            raise RunError(
                f"history.csv in {str(self.folder)!r} is damaged: its first {self.step} rows are not those of the "
                "checkpoint. Delete the run's folder and train again"
            )


@torch.no_grad()
def _norm(prompt: Prompt, model: HookedModel) -> float:
    """Return the mean L2 norm of the prompt's vectors (last dimension) over positions, layers, and keys and values."""
    if type(prompt).tensors is Prompt.tensors:  # parameters of which it makes vectors, in its own way
        placed = prompt.place(model).tensors().values()
        tensors = [x.transpose(1, 2).flatten(2) if x.ndim == 4 else x for x in placed]  # (layer, head, k, d_head)
    else:
        tensors = list(prompt.tensors().values())
    return torch.cat([vectors.norm(dim=-1).flatten() for vectors in tensors]).mean().item()


def _shown(row: Row) -> dict[str, str]:
    """Return the loss and, if there is one, the first validation metric, as text."""
    metric = next((name for name in row if name.startswith("validation_")), "loss")
    return {name: f"{row[name]:.3f}" for name in ("loss", metric)}
