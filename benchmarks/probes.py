"""The pass with the probes of attention and neurons compared with the bare eager forward over the same inputs."""

from dataclasses import dataclass

import torch
from torch import Tensor

import promptscope as ps
from benchmarks.attention import in_batches
from benchmarks.baselines import plain
from benchmarks.equality import Outcome
from benchmarks.flops import LinearWeights, Work, padded_rows
from benchmarks.inputs import Lengths, row_lengths, unlabelled_examples
from benchmarks.models import Models, Subject
from benchmarks.training import make_prompt
from benchmarks.ways import in_every_way
from benchmarks.workload import Variant, Workload, beside
from promptscope.prompts import SoftPrompt
from promptscope.tasks import Batch

_BATCH, _BASELINE = 8, "bare eager forward"


@dataclass(frozen=True)
class ProbePass:
    """Attention KL, attention variability and neuron states in one pass, with and without a prompt of `k`.

    Over `inputs` inputs of `n` tokens. The baseline runs the model with eager attention over the same rows and keeps
    nothing.
    """

    model: str
    k: int
    n: int
    inputs: int

    @property
    def name(self) -> str:
        """`probes/MODEL/all-k20-n40-16inputs`."""
        return f"probes/{self.model}/all-k{self.k}-n{self.n}-{self.inputs}inputs"

    def workload(self, models: Models) -> Workload:
        """Prepare inputs, prompt, and the attention KL by hand."""
        subject = models.get(self.model)
        variants, truths = probe_variants(subject, self.k, self.n, self.inputs)
        return Workload(variants, LIMITS, truths)


LIMITS = {"attention_kl": 1e-3}
"""Largest relative L2 difference; a divergence of sums in float32 loses half of their digits."""


def probe_variants(
    subject: Subject, k: int, n: int, inputs: int, suffix: str = "", first: str | None = None
) -> tuple[tuple[Variant, ...], dict[str, Outcome]]:
    """Return the bare forward and the probes, and the KL by hand; *suffix* and *first* as in `beside`."""
    examples = unlabelled_examples(subject, Lengths(n), inputs)
    batches = [batch.to(subject.bare.device) for batch in in_batches(examples)]
    prompt = make_prompt(subject, "v1", k)
    assert isinstance(prompt, SoftPrompt)
    vectors = prompt.vectors().detach()

    probes = [
        ps.probes.AttentionKL(),
        ps.probes.AttentionVariability(),
        ps.probes.NeuronStates(at="last"),  # the position that depends on the inputs
    ]

    def bare() -> Outcome:
        for batch in batches:
            for prompted in (None, vectors):
                plain.eager_forward(subject.bare, batch, prompted)
        return {}

    def promptscope() -> Outcome:
        results = ps.probe(subject.hooked, prompt, examples, probes, batch_size=_BATCH, progress=False)
        return {"attention_kl": torch.tensor(results["attention_kl"].values.values[0])}

    lengths = row_lengths(batches)
    rows = padded_rows(lengths, 0) + padded_rows(lengths, k)
    work = Work(rows, rows, LinearWeights.of(subject.bare).flops(rows, 0, training=False))
    variants = beside(_BASELINE, bare, in_every_way(subject.hooked, promptscope), work, suffix, first)
    by_hand = [divergences(subject, batch, vectors) for batch in batches]
    return variants, {_BASELINE + suffix: {"attention_kl": torch.cat(by_hand, dim=1).mean(dim=1)}}


def divergences(subject: Subject, batch: Batch, vectors: Tensor) -> Tensor:
    """Return the KL of eq. 4 by hand, (layer, B, head): softmax over the attention that each token receives."""
    k = len(vectors)
    prompted = torch.stack(plain.eager_attentions(subject.bare, batch, vectors)).double().cpu()
    without = torch.stack(plain.eager_attentions(subject.bare, batch)).double().cpu()
    p = prompted[..., k:, k:].sum(dim=-2).log_softmax(dim=-1)
    m = without.sum(dim=-2).log_softmax(dim=-1)
    return (p.exp() * (p - m)).sum(dim=-1)
