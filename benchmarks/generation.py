"""Greedy generation in ragged batches; the correct tokens are those that each row gets alone, without padding."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.baselines import plain
from benchmarks.baselines.peft import PeftPrompt
from benchmarks.equality import Outcome
from benchmarks.flops import LinearWeights, Work, padded_rows, text_rows
from benchmarks.inputs import Lengths, random_batches, row_lengths
from benchmarks.models import Models, Subject
from benchmarks.training import make_prompt
from benchmarks.ways import in_every_way
from benchmarks.workload import Workload, beside
from promptscope.engine import share
from promptscope.inference.generate import write
from promptscope.prompts import SoftPrompt
from promptscope.tasks import Batch


@dataclass(frozen=True)
class Generation:
    """`new` greedy tokens for each of `rows` rows after an input-level prompt, `batch` rows at a time.

    PEFT's batched `generate` writes other tokens than each row gets alone, because padding shifts their positions: it
    is the baseline for time, and its own difference from the correct tokens is shown.
    """

    model: str
    k: int
    lengths: Lengths
    rows: int
    batch: int = 16
    new: int = 5

    @property
    def name(self) -> str:
        """`generation/MODEL/v1/k20-ragged14-40-48rows-5new`."""
        return f"generation/{self.model}/v1/k{self.k}-{self.lengths}-{self.rows}rows-{self.new}new"

    def workload(self, models: Models) -> Workload:
        """Prepare the prompt, PEFT with the same numbers, the batches padded on either side, and the correct tokens."""
        subject = models.get(self.model)
        batches = random_batches(subject, self.lengths, self.batch, self.rows // self.batch)
        prompt = make_prompt(subject, "v1", self.k)
        assert isinstance(prompt, SoftPrompt)
        theirs, left = PeftPrompt(subject, prompt), [_left_padded(batch) for batch in batches]
        rows = [
            ids[mask.bool()]
            for batch in batches
            for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)
        ]

        def peft() -> Outcome:
            return {"tokens": torch.cat([theirs.generate(ids, mask, self.new) for ids, mask in left]).cpu()}

        def peft_alone() -> Outcome:
            new = [theirs.generate(row[None], torch.ones_like(row)[None], self.new) for row in rows]
            return {"tokens": torch.cat(new).cpu()}

        @torch.no_grad()
        def promptscope() -> Outcome:
            shared = share(subject.hooked, [prompt])
            new = [
                write(subject.hooked, batch.input_ids, batch.attention_mask, prompt, self.new, (), shared)
                for batch in batches
            ]
            return {"tokens": torch.tensor([row for part in new for row in part])}

        vectors = prompt.vectors().detach().to(subject.bare.dtype)
        truth = torch.stack([plain.greedy_alone(subject.bare, row, vectors, self.new) for row in rows]).cpu()
        ours = in_every_way(subject.hooked, promptscope)
        work = _work(subject, self.k, batches, self.new)
        return Workload(
            beside("PEFT", peft, {"PEFT, row by row": peft_alone, **ours}, work),
            {"tokens": 0.0},
            truths={"PEFT": {"tokens": truth}},
        )


def _left_padded(batch: Batch) -> tuple[Tensor, Tensor]:
    order = torch.argsort(batch.attention_mask, dim=1, stable=True)
    return batch.input_ids.gather(1, order), batch.attention_mask.gather(1, order)


def _work(subject: Subject, k: int, batches: Sequence[Batch], new: int) -> Work:
    """Count the work: the prompt is needed once for all rows, and no pass reads the last new token."""
    lengths, n_rows = row_lengths(batches), sum(map(len, batches))
    steps = n_rows * (new - 1)
    rows = text_rows(lengths, k, causal=True) + steps
    flops = LinearWeights.of(subject.bare).flops(rows, n_rows * new, training=False)
    return Work(rows, padded_rows(lengths, k) + steps, flops)
