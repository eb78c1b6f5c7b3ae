"""All probes of attention and neurons at the size of a paper's model: do memory and time stay near the bare model's?"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

import promptscope as ps
from benchmarks.attention import in_batches
from benchmarks.baselines import plain
from benchmarks.equality import Outcome
from benchmarks.flops import LinearWeights, Work, padded_rows
from benchmarks.inputs import Lengths, row_lengths, unlabelled_examples
from benchmarks.models import Models, Subject
from benchmarks.probes import divergences
from benchmarks.results import CaseResult
from benchmarks.training import make_prompt
from benchmarks.ways import in_every_way
from benchmarks.workload import Variant, Workload, beside
from promptscope.prompts import SoftPrompt

_BASELINE = "eager forwards, no probes"
LIMITS = {"attention_kl": 1e-5}
"""Largest relative L2 difference from the KL by hand: patterns are the model's own, and sums are float32."""


@dataclass(frozen=True)
class Scale:
    """Eight probes over `inputs` inputs of `n` tokens with a prompt of `k` positions, `batch` inputs at a time.

    Several numbers of inputs are listed from the smallest to the largest.
    The baseline runs the same three passes (text alone, text at the positions after the prompt, prompt and text) on
    the model with eager attention, computes no logits, and keeps nothing. `whole`: the number of inputs to which time
    and the size of the store are extrapolated.
    """

    model: str
    k: int
    n: int
    inputs: tuple[int, ...]
    batch: int = 8
    whole: int = 2000

    @property
    def name(self) -> str:
        """`scale/MODEL/k20-n150-b8-16inputs`."""
        return f"scale/{self.model}/k{self.k}-n{self.n}-b{self.batch}-{'-'.join(map(str, self.inputs))}inputs"

    def workload(self, models: Models) -> Workload:
        """Prepare inputs and prompt; the store's size is known after a run."""
        subject = models.get(self.model)
        about: dict[str, float] = {"model MB": _megabytes(subject)}
        variants: list[Variant] = []
        truths: dict[str, Outcome] = {}
        for inputs in self.inputs:
            suffix = f", {inputs} inputs" if len(self.inputs) > 1 else ""
            first = f", {self.inputs[0]} inputs" if inputs != self.inputs[0] else None
            more, truth = _variants(subject, self, inputs, suffix, first, about)
            variants += more
            truths[_BASELINE + suffix] = truth
        return Workload(tuple(variants), LIMITS, truths, about)


def _variants(
    subject: Subject, case: Scale, inputs: int, suffix: str, first: str | None, about: dict[str, float]
) -> tuple[tuple[Variant, ...], Outcome]:
    examples = unlabelled_examples(subject, Lengths(case.n), inputs)
    batches = [batch.to(subject.bare.device) for batch in in_batches(examples, case.batch)]
    prompt = make_prompt(subject, "v1", case.k)
    assert isinstance(prompt, SoftPrompt)
    vectors = prompt.vectors().detach()
    probes = [
        ps.probes.AttentionKL(),
        ps.probes.AttentionKL("per_query"),
        ps.probes.AttentionVariability(),
        ps.probes.AttentionMass(),
        ps.probes.AttentionBias(),
        ps.probes.NeuronStates(separator=0),
        ps.probes.NeuronStates(at="last"),
        ps.probes.NeuronStates("binary", "last"),
    ]

    def bare() -> Outcome:
        for batch in batches:
            # Twice without the prompt: two probes need the text at its positions after the prompt, which cost no time.
            for prompted in (None, None, vectors):
                plain.eager_states(subject.bare, batch, prompted)
        return {}

    def promptscope() -> Outcome:
        with tempfile.TemporaryDirectory() as folder:
            results = ps.probe(
                subject.hooked, prompt, examples, probes, store=folder, batch_size=case.batch, progress=False
            )
            about["store kB an input"] = sum(file.stat().st_size for file in Path(folder).rglob("*")) / inputs / 1e3
        kl = results["attention_kl"].data["per_example"].values[0]
        return {"attention_kl": torch.tensor(kl[: len(batches[0])])}

    lengths = row_lengths(batches)
    rows = 2 * padded_rows(lengths, 0) + padded_rows(lengths, case.k)
    work = Work(rows, rows, LinearWeights.of(subject.bare).flops(rows, 0, training=False))
    truth = {"attention_kl": divergences(subject, batches[0], vectors).transpose(0, 1)}
    return beside(_BASELINE, bare, in_every_way(subject.hooked, promptscope), work, suffix, first), truth


def _megabytes(subject: Subject) -> float:
    tensors = {
        t.data_ptr(): t.numel() * t.element_size() for t in [*subject.bare.parameters(), *subject.bare.buffers()]
    }
    return sum(tensors.values()) / 1e6


def scale_lines(case: CaseResult) -> str:
    """Return the result of a `Scale` case in words: peak memory, time ratio, extrapolated time and store size."""
    counts, whole = case.settings["inputs"], case.settings["whole"]
    ours = [m for m in case.measurements if m.against is not None]
    peaks = "; ".join(f"{m.variant}: {m.peak_mb:.0f} MB" for m in ours if m.peak_mb is not None)
    last = ours[-1]
    assert last.ratio is not None
    hours = last.milliseconds.median / 3.6e6 / counts[-1] * whole
    store = case.about["store kB an input"] * whole / 1e3
    return (
        f"Peak above the model ({case.about['model MB']:.0f} MB): {peaks}. Time with probes: "
        f"{1 / last.ratio.median:.2f} [{1 / last.ratio.high:.2f}-{1 / last.ratio.low:.2f}] of the same passes without. "
        f"{_source(counts[-1], whole)}: {hours:.2f} hours of one thread, {store:.0f} MB of store."
    )


def _source(inputs: int, whole: int) -> str:
    return f"{whole} inputs" if inputs == whole else f"Extrapolated from {inputs} to {whole} inputs"
