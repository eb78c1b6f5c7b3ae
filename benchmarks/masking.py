"""Masking importance: the loss of every row with each prompt token zeroed in turn."""

from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from benchmarks.baselines.peft import PeftPrompt
from benchmarks.equality import Outcome
from benchmarks.flops import LinearWeights, Work, padded_rows, text_rows
from benchmarks.inputs import Lengths, random_examples, row_lengths
from benchmarks.models import Models
from benchmarks.training import make_prompt
from benchmarks.ways import in_every_way
from benchmarks.workload import Workload, beside
from promptscope.interventions.measuring import measure
from promptscope.interventions.tokens import without_each
from promptscope.tasks import IGNORED, collate


@dataclass(frozen=True)
class Masking:
    """k + 1 variants of an input-level prompt on `rows` rows, `batch` at a time: what `ps.importance` runs.

    The baseline is the loop that one would write with PEFT: for each variant, copy its vectors into the adapter and run
    a forward pass.
    """

    model: str
    k: int
    lengths: Lengths
    rows: int
    batch: int = 16
    variants_per_pass: int = 3

    @property
    def name(self) -> str:
        """`masking/MODEL/k8-ragged14-30-16rows`."""
        return f"masking/{self.model}/k{self.k}-{self.lengths}-{self.rows}rows"

    def workload(self, models: Models) -> Workload:
        """Prepare the prompt, PEFT with the same numbers, and the rows."""
        subject = models.get(self.model)
        prompt = make_prompt(subject, "v1", self.k)
        theirs, vectors = PeftPrompt(subject, prompt), next(prompt.parameters()).detach().clone()
        examples = random_examples(subject, self.lengths, self.rows)
        starts, kept = range(0, self.rows, self.batch), without_each(self.k)
        batches = [collate(examples[i : i + self.batch], 0).to(subject.bare.device) for i in starts]

        @torch.no_grad()
        def loop() -> Outcome:
            losses = []
            for row in torch.from_numpy(kept):
                theirs.weight.copy_(vectors * row[:, None].to(vectors))
                for batch in batches:
                    where = batch.targets != IGNORED
                    losses.append(cross_entropy(theirs.logits(batch)[where], batch.targets[where], reduction="none"))
            return {"losses": torch.cat(losses).unflatten(0, (len(kept), -1)).double().cpu()}

        def promptscope() -> Outcome:
            found = measure(
                subject.hooked, prompt, "zero", kept, examples, self.batch, self.variants_per_pass, progress=False
            )
            return {"losses": torch.tensor(found.losses)}

        lengths = row_lengths(batches) * len(kept)
        rows = text_rows(lengths, 0, causal=True) + len(kept) * self.k
        flops = LinearWeights.of(subject.bare).flops(rows, len(kept) * self.rows, training=False)
        work = Work(rows, padded_rows(lengths, self.k), flops)
        ours = in_every_way(subject.hooked, promptscope)
        return Workload(beside("PEFT, variant by variant", loop, ours, work), {"losses": 1e-4})
