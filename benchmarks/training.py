"""A training step on a frozen model: loss, prompt gradient, AdamW."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from benchmarks.baselines import plain
from benchmarks.baselines.peft import PeftPrompt, peft_rows
from benchmarks.equality import Outcome, limits_for
from benchmarks.flops import LinearWeights, Work, padded_rows, text_rows
from benchmarks.inputs import Lengths, random_batches, row_lengths
from benchmarks.models import Models, Subject
from benchmarks.ways import in_every_way
from benchmarks.workload import Variant, Workload, beside
from promptscope.models.keys import cached
from promptscope.prompts import DeepPrompt, Prompt, SoftPrompt
from promptscope.tasks import Batch
from promptscope.training.gradient import accumulate_gradient

Level = Literal["v1", "v2"]


@dataclass(frozen=True)
class Training:
    """Steps over `batches` batches of `rows` rows each after `k` prompt positions; the loss is their mean."""

    model: str
    level: Level
    k: int
    lengths: Lengths
    rows: int
    batches: int = 1
    targets: int = 1

    @property
    def name(self) -> str:
        """`training/MODEL/v1/k20-n30-b16`."""
        return f"training/{self.model}/{self.level}/k{self.k}-{self.lengths}-b{self.rows}"

    def workload(self, models: Models) -> Workload:
        """Prepare the prompt, PEFT with the same numbers, and the batches."""
        subject = models.get(self.model)
        batches = random_batches(subject, self.lengths, self.rows, self.batches, self.targets)
        prompt = make_prompt(subject, self.level, self.k)
        work = training_work(subject, self.level, self.k, batches)
        lengths = [n for part in row_lengths(batches) for n in part]
        return Workload(
            training_variants(subject, prompt, batches, work),
            limits_for(subject.bare.dtype),
            about={"mean_length": sum(lengths) / len(lengths), "longest": max(lengths)},
        )


def make_prompt(subject: Subject, level: Level, k: int, seed: int = 0) -> Prompt:
    """Make a prompt from token embeddings, or from their keys and values, in a form that PEFT has too.

    With random numbers of the same size, rounding alone would change the gradients by a hundred times as much.
    """
    if level == "v1":
        return SoftPrompt(k, init="vocab", seed=seed).bind(subject.hooked)
    prompt = DeepPrompt(k, init="vocab", seed=seed).bind(subject.hooked)
    keys, heads = prompt.keys(), (subject.hooked.shape.n_kv_heads, subject.hooked.shape.d_head)
    with torch.no_grad():
        values = prompt.values().unflatten(-1, heads).transpose(1, 2)
        written = keys.unflatten(-1, heads).transpose(1, 2)
        turned, _ = cached(written, values, prompt.chosen_layers(subject.hooked), subject.hooked)
        keys.copy_(turned.transpose(1, 2).flatten(2))
    prompt.keys_after_rotary = True  # the form of PEFT, so that numbers and gradients can be compared
    return prompt


def training_work(subject: Subject, level: Level, k: int, batches: Sequence[Batch]) -> Work:
    """Count the work that a step needs; a deep prompt adds no positions that pass through the layers.

    A deep prompt's gradient ends at the keys and values of the first layer, so a run may do slightly less than that.
    """
    lengths, rows = row_lengths(batches), k if level == "v1" else 0
    tokens = text_rows(lengths, rows, causal=subject.hooked.family.kind == "causal")
    n_targets = sum(int((batch.targets != -100).sum()) for batch in batches)
    decoder_rows = n_targets if subject.hooked.family.kind == "seq2seq" else 0
    flops = LinearWeights.of(subject.bare).flops(tokens, n_targets, decoder_rows)
    return Work(tokens, padded_rows(lengths, rows), flops)


def training_variants(
    subject: Subject, prompt: Prompt, batches: Sequence[Batch], work: Work, suffix: str = "", first: str | None = None
) -> tuple[Variant, ...]:
    """Return the baseline, the same with logits at labels only where that is possible, and promptscope.

    *suffix* and *first* as in `beside`.
    """
    runs = _masked_runs(subject, prompt, batches)
    if runs is None:
        runs = _peft_runs(subject, prompt, batches)
    runs |= in_every_way(subject.hooked, promptscope_step(subject, prompt, batches))
    baseline = next(iter(runs))
    return beside(baseline, runs.pop(baseline), runs, work, suffix, first)


def _masked_runs(subject: Subject, prompt: Prompt, batches: Sequence[Batch]) -> dict[str, Callable[[], Outcome]] | None:
    """PEFT has no class for masked language models: the loop is written by hand."""
    if subject.hooked.family.kind != "masked":
        return None
    assert isinstance(prompt, SoftPrompt)
    vectors = prompt.embedding.detach().clone().requires_grad_()
    step = _Step([vectors])
    return {
        "plain loop": lambda: step(plain.masked_losses(subject.bare, batches, vectors), len(batches), vectors),
        "plain loop, label-only": lambda: step(
            plain.label_only_masked_losses(subject.bare, batches, vectors), len(batches), vectors
        ),
    }


def _peft_runs(subject: Subject, prompt: Prompt, batches: Sequence[Batch]) -> dict[str, Callable[[], Outcome]]:
    theirs = PeftPrompt(subject, prompt)
    runs = {"PEFT": peft_step(theirs, batches)}
    if subject.hooked.family.kind == "causal":
        runs["PEFT, label-only"] = peft_step(theirs, batches, label_only=True)
    return runs


def peft_step(theirs: PeftPrompt, batches: Sequence[Batch], label_only: bool = False) -> Callable[[], Outcome]:
    """Return a training step of PEFT's."""
    step = _Step([theirs.weight])

    def run() -> Outcome:
        losses = theirs.label_only_losses(batches) if label_only else theirs.losses(batches)
        return {**step(losses, len(batches), theirs.weight), "gradient": theirs.gradient()}

    return run


def promptscope_step(subject: Subject, prompt: Prompt, batches: Sequence[Batch]) -> Callable[[], Outcome]:
    """Return a training step of promptscope's."""
    optimizer = _optimizer(prompt.parameters())

    def run() -> Outcome:
        optimizer.zero_grad(set_to_none=True)
        loss = accumulate_gradient(subject.hooked, prompt, batches)
        optimizer.step()
        return {
            "loss": torch.tensor(loss, dtype=torch.float64),
            "gradient": peft_rows(prompt, lambda number: number.grad),
        }

    return run


class _Step:
    """A baseline's step; all batches have equally many labels, so the mean of their means is the mean over labels."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.optimizer = _optimizer(parameters)

    def __call__(self, losses: Iterable[Tensor], n: int, parameter: Tensor) -> dict[str, Tensor]:
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for loss in losses:
            (loss / n).backward()
            total += loss.item() / n
        self.optimizer.step()
        assert parameter.grad is not None
        return {"loss": torch.tensor(total, dtype=torch.float64), "gradient": parameter.grad}


def _optimizer(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    # A rate of 0: the step takes its usual time, and every round sees the same numbers.
    return torch.optim.AdamW(list(parameters), lr=0.0, weight_decay=0.0)
