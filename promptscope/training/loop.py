"""The training loop: steps, evaluations, snapshots, and a checkpoint from which all of it goes on."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor
from tqdm.auto import tqdm

from promptscope.errors import RunError
from promptscope.files import write_json
from promptscope.models import HookedModel
from promptscope.prompts import Prompt
from promptscope.prompts.saving import versions
from promptscope.tasks import Batch, Encoded
from promptscope.training.batches import batches
from promptscope.training.checkpoint import read_checkpoint, write_checkpoint
from promptscope.training.config import TrainConfig
from promptscope.training.evaluate import Evaluator
from promptscope.training.history import Row, read_rows, write_history
from promptscope.training.objective import accumulate_gradient
from promptscope.training.order import batch_indices, batches_per_epoch
from promptscope.training.schedule import learning_rate_factor


class Loop:
    """One run in its folder. What changes from step to step is what the checkpoint carries, and nothing else."""

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
        self.total = config.steps or max(1, round((config.epochs or 0) * self.per_epoch))
        kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
        self.optimizer = kinds[config.optimizer](
            prompt.parameters(), lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
        )
        self.history: list[Row] = []
        self.best: float | None = None
        self.seconds = 0.0
        self.good: list[Tensor] | None = None  # the numbers with which loss and gradient were last finite

    def run(self, label: str, progress: bool) -> None:
        """Train from the last checkpoint, or from the start, to the end.

        Raises:
            RunError: loss, gradient or prompt are not finite.
        """
        start = self._resume()
        shown: dict[str, str] = {}
        with tqdm(total=self.total, initial=start, desc=label, unit="step", disable=not progress) as bar:
            for step in range(start, self.total):
                begun = time.perf_counter()
                row = self._step(step)
                self.history.append(row)
                self._snapshot(step + 1)
                row |= self._evaluate(step + 1)
                self.seconds += time.perf_counter() - begun
                row["seconds"] = self.seconds
                if (step + 1) % self.config.checkpoint_every == 0:
                    self._checkpoint(step + 1)
                shown |= _shown(row)
                bar.set_postfix(shown, refresh=False)
                bar.update()
        self._describe_history(self.total)
        self.prompt.save(self._prompts("last"))
        self._checkpoint(self.total)

    def write_result(self, counts: dict[str, int]) -> None:
        """Write `result.json`, which makes the folder a finished run."""
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

    # --- one step ------------------------------------------------------------------------------------

    def _step(self, step: int) -> Row:
        config = self.config
        rate = config.learning_rate * learning_rate_factor(step, self.total, config.warmup_steps, config.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # The order is that of the whole batch: (batch_size, accumulation) = (4, 2) then trains as (8, 1) does.
        chosen = [self.examples[i] for i in batch_indices(len(self.examples), self.batch_size, config.seed, step)]
        parts = list(batches(self.model, chosen, config.batch_size))
        self.optimizer.zero_grad(set_to_none=True)
        loss = accumulate_gradient(self.model, self.prompt, parts)
        limit = math.inf if config.max_grad_norm is None else config.max_grad_norm
        gradient = torch.nn.utils.clip_grad_norm_(self.prompt.parameters(), limit).item()
        if not (math.isfinite(loss) and math.isfinite(gradient)):
            self._stop(step, f"loss {loss}, gradient norm {gradient}", rate, parts)
        self.good = [parameter.detach().clone() for parameter in self.prompt.parameters()]
        self.optimizer.step()
        norm = _norm(self.prompt)
        if not math.isfinite(norm):
            self._stop(step, f"loss {loss}, but the prompt's norm is not finite after the update", rate, parts)
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
            self._describe_history(step)
            self.prompt.save(last)
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
        scores = self.validation.scores(progress=False)
        score = next(iter(scores.values()))
        if math.isfinite(score) and (self.best is None or score > self.best):
            self.best = score
            self._describe_history(done)
            self.prompt.save(self._prompts("best"))
        return {f"validation_{name}": value for name, value in scores.items()}

    def _snapshot(self, done: int) -> None:
        every = self.config.snapshot_every
        if every and (done % every == 0 or done == self.total):
            self._describe_history(done)
            self.prompt.save(self._prompts(f"step-{done:06d}"))

    def _describe_history(self, done: int) -> None:
        self.prompt.provenance["history"] = {
            "steps": done,
            "loss": self.history[-1]["loss"] if self.history else None,
            "best_validation": self.best,
        }

    def _prompts(self, name: str) -> Path:
        return self.folder / "prompts" / name

    # --- stopping and going on -----------------------------------------------------------------------

    def _checkpoint(self, done: int) -> None:
        # History first: rows beyond the checkpoint are dropped on resuming, missing ones could not be made up.
        write_history(self.folder / "history.csv", self.history)
        progress = {"step": done, "best": self.best, "seconds": self.seconds}
        write_checkpoint(self.folder / "checkpoint.safetensors", self.prompt, self.optimizer, progress)

    def _resume(self) -> int:
        path = self.folder / "checkpoint.safetensors"
        if not path.is_file():
            self._snapshot(0)
            # The caller's prompt changes from here on: an interrupted call must find its start again.
            self._checkpoint(0)
            return 0
        progress = read_checkpoint(path, self.prompt, self.optimizer)
        self.best, self.seconds = progress["best"], progress["seconds"]
        self.history = read_rows(self.folder / "history.csv")[: progress["step"]]
        return progress["step"]


@torch.no_grad()
def _norm(prompt: Prompt) -> float:
    """Return the mean L2 norm of the prompt's vectors (last dimension), over positions, layers and roles."""
    return torch.cat([parameter.norm(dim=-1).flatten() for parameter in prompt.parameters()]).mean().item()


def _shown(row: Row) -> dict[str, str]:
    """Return the loss and, where there is one, the first validation metric."""
    metric = next((name for name in row if name.startswith("validation_")), "loss")
    return {name: f"{row[name]:.3f}" for name in ("loss", metric)}
