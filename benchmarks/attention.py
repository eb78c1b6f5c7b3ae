"""Attention statistics over many inputs: the mean absolute deviation of attention among the first N tokens."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import promptscope as ps
from benchmarks.baselines import plain
from benchmarks.equality import Outcome
from benchmarks.flops import LinearWeights, Work, padded_rows, text_rows
from benchmarks.inputs import Lengths, row_lengths, unlabelled_examples
from benchmarks.models import Models, Subject
from benchmarks.ways import in_every_way
from benchmarks.workload import Variant, Workload, beside
from promptscope.tasks import Batch, Encoded, collate

_BATCH = 8


@dataclass(frozen=True)
class AttentionDeviation:
    """`ps.probes.AttentionVariability` over `inputs` inputs of `n` tokens, compared with two eager passes over all.

    On a causal model the attention among the first N tokens depends on these alone, so the probe reads no others.
    """

    model: str
    n: int
    first_n: int
    inputs: int

    @property
    def name(self) -> str:
        """`attention/MODEL/deviation-n120-first16-16inputs`."""
        return f"attention/{self.model}/deviation-n{self.n}-first{self.first_n}-{self.inputs}inputs"

    def workload(self, models: Models) -> Workload:
        """Prepare the inputs."""
        subject = models.get(self.model)
        return Workload(deviation_variants(subject, self.n, self.first_n, self.inputs), {"variability": 1e-4})


def deviation_variants(subject: Subject, n: int, first_n: int, inputs: int) -> tuple[Variant, ...]:
    """Return the two eager passes and the probe."""
    examples = unlabelled_examples(subject, Lengths(n), inputs)
    batches = [batch.to(subject.bare.device) for batch in in_batches(examples)]
    probe = ps.probes.AttentionVariability(first_n=first_n)

    def eager() -> Outcome:
        return {"variability": _two_passes(lambda: _blocks(subject, batches, first_n))}

    def promptscope() -> Outcome:
        result = ps.probe(subject.hooked, None, examples, probe, batch_size=_BATCH, progress=False)
        return {"variability": torch.tensor(result[probe.name].values.values)}

    lengths = row_lengths(batches)
    needed = text_rows([[first_n] * len(part) for part in lengths], 0, causal=True)
    flops = LinearWeights.of(subject.bare).flops(needed, 0, training=False)
    work = Work(needed, padded_rows(lengths, 0), flops)
    ours = in_every_way(subject.hooked, promptscope)
    return beside("two eager passes", eager, ours, work)


def in_batches(examples: Sequence[Encoded], size: int = _BATCH) -> list[Batch]:
    """Collate encoded records into batches."""
    return [collate(list(examples[start : start + size]), 0) for start in range(0, len(examples), size)]


def _blocks(subject: Subject, batches: Sequence[Batch], first_n: int) -> Iterator[Tensor]:
    for batch in batches:
        layers = plain.eager_attentions(subject.bare, batch)
        yield torch.stack([layer[:, :, 1:first_n, 1:first_n] for layer in layers]).double().cpu()


def _two_passes(blocks: Callable[[], Iterator[Tensor]]) -> Tensor:
    """Compute V of each layer and head: one pass for the mean, one for the deviations; the first token is left out."""
    total = deviation = mass = torch.zeros(())
    n = 0
    for block in blocks():  # (layer, B, head, N - 1, N - 1)
        total, n = total + block.sum(dim=1, keepdim=True), n + block.shape[1]
    mean = total / n
    for block in blocks():
        deviation = deviation + (block - mean).abs().sum(dim=(1, 3, 4))
        mass = mass + block.sum(dim=(1, 3, 4))
    return deviation / (2 * mass)
