"""Exact activation patching of every head, against the loop that one would write."""

from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.equality import Outcome
from benchmarks.flops import LinearWeights, Work, padded_rows, text_rows
from benchmarks.inputs import Lengths, random_examples, row_lengths
from benchmarks.models import Models
from benchmarks.training import make_prompt
from benchmarks.workload import Workload, beside
from promptscope.causal.components import components
from promptscope.causal.inputs import Inputs
from promptscope.causal.running import Condition, plain
from promptscope.causal.variants import Variant, run_variants
from promptscope.tasks import IGNORED, collate


@dataclass(frozen=True)
class Patching:
    """Log-probability of the answer on `rows` rows with each head's output taken from the prompted run (restore).

    The baseline is one whole hooked forward for each head and row. `layers`: how many layers, evenly spaced, have their
    heads patched (not all, because the baseline takes long).
    """

    model: str
    k: int
    lengths: Lengths
    rows: int
    layers: int
    batch: int = 16

    @property
    def name(self) -> str:
        """`patching/MODEL/k20-ragged14-30-8rows-6layers`."""
        return f"patching/{self.model}/k{self.k}-{self.lengths}-{self.rows}rows-{self.layers}layers"

    def workload(self, models: Models) -> Workload:
        """Prepare the prompt, the rows and the heads."""
        subject = models.get(self.model)
        model, prompt = subject.hooked, make_prompt(subject, "v1", self.k).bind(subject.hooked)
        examples = random_examples(subject, self.lengths, self.rows)
        inputs = Inputs(tuple(examples), (), "random", "test", "")
        chosen = set(np.linspace(0, model.shape.n_layers - 1, self.layers).round().astype(int).tolist())
        heads = [one for one in components(model, "heads") if one.layer in chosen]
        before, after = plain(model, prompt), Condition(prompt)

        def promptscope() -> Outcome:
            variants = [Variant((one,)) for one in heads]
            return {"gold": torch.tensor(run_variants(model, inputs, before, after, variants, self.batch)[:, 0])}

        @torch.no_grad()
        def loop() -> Outcome:
            gold = torch.empty(len(heads), len(examples), dtype=torch.float64)
            for column, example in enumerate(examples):
                batch = collate([example], 0)
                where = batch.targets[0] != IGNORED
                theirs: dict[str, torch.Tensor] = {}
                keep = [
                    (point, lambda x, hook, point=point, theirs=theirs: theirs.__setitem__(point, x))
                    for point in {one.point for one in heads}
                ]
                model.forward_hooked(batch.input_ids, batch.attention_mask, prompt, keep)
                for row, one in enumerate(heads):

                    def write(x: torch.Tensor, hook: object, one=one, theirs=theirs) -> torch.Tensor:
                        x = x.clone()
                        x[:, :, one.head] = theirs[one.point][:, self.k :, one.head]
                        return x

                    hooks = [(one.point, write)]
                    logits = model.forward_hooked(
                        batch.input_ids, batch.attention_mask, hooks=hooks, position_offset=before.shared
                    )[0]
                    said = logits[where].log_softmax(-1).gather(1, batch.targets[0][where][:, None])
                    gold[row, column] = said.sum().double()
            return {"gold": gold}

        batches = [collate([example], 0) for example in examples]
        lengths = row_lengths(batches) * len(heads)
        rows = text_rows(lengths, 0, causal=True)
        flops = LinearWeights.of(subject.bare).flops(rows, len(heads) * self.rows, training=False)
        work = Work(rows, padded_rows(lengths, 0), flops)
        return Workload(beside("hooked forward, one by one", loop, {"promptscope": promptscope}, work), {"gold": 1e-4})
