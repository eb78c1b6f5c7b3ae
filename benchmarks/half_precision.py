"""A training step whose frozen linear layers multiply in bfloat16, compared with float32 and PEFT under autocast."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks.baselines.peft import PeftPrompt
from benchmarks.equality import HALF_LIMITS, Outcome
from benchmarks.inputs import Lengths, random_batches
from benchmarks.models import Models, Subject
from benchmarks.training import Level, make_prompt, peft_step, promptscope_step, training_work
from benchmarks.workload import Run, Workload, beside
from promptscope.engine import execution
from promptscope.tasks import Batch


@dataclass(frozen=True)
class Bf16Training:
    """Steps as in `Training`; the results of each variant are compared with those of PEFT in float64."""

    model: str
    level: Level
    k: int
    lengths: Lengths
    rows: int
    batches: int = 1
    targets: int = 1

    @property
    def name(self) -> str:
        """`bf16/MODEL/v1/k20-n30-b16`."""
        return f"bf16/{self.model}/{self.level}/k{self.k}-{self.lengths}-b{self.rows}"

    def workload(self, models: Models) -> Workload:
        """Prepare the prompt, PEFT with the same numbers, and the outcome in float64."""
        truth = self._in_float64(models)
        subject = models.get(self.model)
        batches = random_batches(subject, self.lengths, self.rows, self.batches, self.targets)
        prompt = make_prompt(subject, self.level, self.k)
        ours, theirs = promptscope_step(subject, prompt, batches), peft_step(PeftPrompt(subject, prompt), batches)
        others: dict[str, Run] = {
            "promptscope, bf16 products": lambda: _in_bf16(ours),
            "PEFT": theirs,
            "PEFT, bf16 autocast": lambda: _under_autocast(theirs),
        }
        work = training_work(subject, self.level, self.k, batches)
        return Workload(beside("promptscope", ours, others, work), HALF_LIMITS, truths={"promptscope": truth})

    def _in_float64(self, models: Models) -> Outcome:
        subject: Subject = models.get(self.model, torch.float64)
        batches: Sequence[Batch] = random_batches(subject, self.lengths, self.rows, self.batches, self.targets)
        found = peft_step(PeftPrompt(subject, make_prompt(subject, self.level, self.k)), batches)()
        return {name: value.clone() for name, value in found.items()}


def _in_bf16(run: Run) -> Outcome:
    with execution(matmul="bf16"):
        return run()


def _under_autocast(run: Run) -> Outcome:
    with torch.autocast("cpu", torch.bfloat16):
        return run()
