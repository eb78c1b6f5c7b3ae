"""How time and memory grow: with the length of the prompt, and with the number of inputs."""

from dataclasses import dataclass

from benchmarks.equality import FP32_LIMITS, Outcome
from benchmarks.inputs import Lengths, random_batches
from benchmarks.models import Models
from benchmarks.probes import LIMITS, probe_variants
from benchmarks.training import Level, make_prompt, training_variants, training_work
from benchmarks.workload import Variant, Workload


@dataclass(frozen=True)
class GrowthWithPrompt:
    """A training step on the same batch with prompts of several lengths, the shortest first."""

    model: str
    level: Level
    ks: tuple[int, ...]
    lengths: Lengths
    rows: int

    @property
    def name(self) -> str:
        """`growth/MODEL/v1/k10-50-100-n30-b16`."""
        return f"growth/{self.model}/{self.level}/k{'-'.join(map(str, self.ks))}-{self.lengths}-b{self.rows}"

    def workload(self, models: Models) -> Workload:
        """Prepare a prompt and a PEFT model for each length."""
        subject = models.get(self.model)
        batches = random_batches(subject, self.lengths, self.rows)
        variants: list[Variant] = []
        for k in self.ks:
            prompt, work = make_prompt(subject, self.level, k), training_work(subject, self.level, k, batches)
            first = f", k={self.ks[0]}" if k != self.ks[0] else None
            variants += training_variants(subject, prompt, batches, work, f", k={k}", first)
        return Workload(tuple(variants), FP32_LIMITS)


@dataclass(frozen=True)
class GrowthWithInputs:
    """The pass with the probes over several numbers of inputs, the fewest first: memory should stay flat."""

    model: str
    k: int
    n: int
    inputs: tuple[int, ...]

    @property
    def name(self) -> str:
        """`growth/MODEL/probes/k20-n40-16-160inputs`."""
        return f"growth/{self.model}/probes/k{self.k}-n{self.n}-{'-'.join(map(str, self.inputs))}inputs"

    def workload(self, models: Models) -> Workload:
        """Prepare the inputs."""
        subject = models.get(self.model)
        variants: list[Variant] = []
        truths: dict[str, Outcome] = {}
        for inputs in self.inputs:
            first = f", {self.inputs[0]} inputs" if inputs != self.inputs[0] else None
            more, truth = probe_variants(subject, self.k, self.n, inputs, f", {inputs} inputs", first)
            variants += more
            truths |= truth
        return Workload(tuple(variants), LIMITS, truths)
