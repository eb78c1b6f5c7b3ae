"""Many prompts over one model: a step of every prompt of a grid, each on rows of its own."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.baselines.peft import PeftPrompt, peft_rows
from benchmarks.equality import FP32_LIMITS, Outcome
from benchmarks.inputs import Lengths, random_batches
from benchmarks.models import Models
from benchmarks.training import Level, make_prompt, training_work
from benchmarks.ways import in_every_way
from benchmarks.workload import Workload, beside
from promptscope.training.gradient import accumulate_gradient, accumulate_gradients


@dataclass(frozen=True)
class Grid:
    """Loss and gradient of `prompts` prompts, `per_pass` of them together, `rows` rows each.

    The baseline is PEFT, one prompt after another; promptscope with one prompt at a time shows what batching gains.
    """

    model: str
    level: Level
    k: int
    lengths: Lengths
    rows: int
    prompts: int
    per_pass: int = 4

    @property
    def name(self) -> str:
        """`grids/MODEL/v1/8x-k4-n20-b8`."""
        return f"grids/{self.model}/{self.level}/{self.prompts}x-k{self.k}-{self.lengths}-b{self.rows}"

    def workload(self, models: Models) -> Workload:
        """Prepare the prompts, as many PEFT models over the same weights, and a batch for each."""
        subject = models.get(self.model)
        batches = random_batches(subject, self.lengths, self.rows, self.prompts)
        prompts = [make_prompt(subject, self.level, self.k, seed) for seed in range(self.prompts)]
        theirs = [PeftPrompt(subject, prompt) for prompt in prompts]
        passes = [
            [(i, batches[i]) for i in range(start, min(start + self.per_pass, self.prompts))]
            for start in range(0, self.prompts, self.per_pass)
        ]

        def peft() -> Outcome:
            losses = []
            for one, batch in zip(theirs, batches, strict=True):
                one.weight.grad = None
                (loss,) = one.losses([batch])
                loss.backward()
                losses.append(loss.item())
            return {"loss": torch.tensor(losses), "gradient": torch.stack([one.gradient() for one in theirs])}

        def promptscope(losses_of: Callable[[], list[float]]) -> Outcome:
            for prompt in prompts:
                prompt.zero_grad(set_to_none=True)
            losses = losses_of()
            gradients = [peft_rows(prompt, lambda number: number.grad) for prompt in prompts]
            return {"loss": torch.tensor(losses), "gradient": torch.stack(gradients)}

        def together() -> Outcome:
            return promptscope(lambda: accumulate_gradients(subject.hooked, prompts, passes))

        def one_by_one() -> Outcome:
            pairs = list(zip(prompts, batches, strict=True))
            return promptscope(lambda: [accumulate_gradient(subject.hooked, p, [batch]) for p, batch in pairs])

        works = [training_work(subject, self.level, self.k, [batch]) for batch in batches]
        work = sum(works[1:], works[0])
        runs = in_every_way(subject.hooked, together) | {"promptscope, one by one": one_by_one}
        return Workload(
            beside("PEFT", peft, runs, work),
            FP32_LIMITS,
        )
