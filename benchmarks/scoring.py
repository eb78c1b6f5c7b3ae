"""Evaluation by verbalizer: the probabilities of a few label words after every row."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.baselines.peft import PeftPrompt
from benchmarks.equality import Outcome
from benchmarks.flops import LinearWeights, Work, padded_rows, text_rows
from benchmarks.inputs import Lengths, random_batches, row_lengths
from benchmarks.models import Models, Subject
from benchmarks.training import Level, make_prompt
from benchmarks.ways import in_every_way
from benchmarks.workload import Workload, beside
from promptscope.engine import share
from promptscope.inference.scoring import word_logits
from promptscope.tasks import Batch


@dataclass(frozen=True)
class Scoring:
    """The probabilities of three label words after `rows` rows, `batch` at a time."""

    model: str
    level: Level
    k: int
    lengths: Lengths
    rows: int
    batch: int = 16
    words: tuple[int, ...] = (17, 101, 411)

    @property
    def name(self) -> str:
        """`scoring/MODEL/v1/k20-ragged14-40-48rows`."""
        return f"scoring/{self.model}/{self.level}/k{self.k}-{self.lengths}-{self.rows}rows"

    def workload(self, models: Models) -> Workload:
        """Prepare the prompt, PEFT with the same numbers, and the batches."""
        subject = models.get(self.model)
        batches = random_batches(subject, self.lengths, self.batch, self.rows // self.batch)
        prompt = make_prompt(subject, self.level, self.k)
        theirs, words = PeftPrompt(subject, prompt), list(self.words)

        @torch.no_grad()
        def peft() -> Outcome:
            return _outcome([theirs.logits(batch)[batch.targets != -100][:, words] for batch in batches])

        @torch.no_grad()
        def peft_label_only() -> Outcome:
            return _outcome([theirs.logits_at(batch, batch.targets != -100)[:, words] for batch in batches])

        @torch.no_grad()
        def promptscope() -> Outcome:
            shared = share(subject.hooked, [prompt])
            return _outcome([word_logits(subject.hooked, batch, words, prompt, shared) for batch in batches])

        ours = in_every_way(subject.hooked, promptscope)
        work = _work(subject, self.level, self.k, batches, len(words))
        return Workload(
            beside("PEFT", peft, {"PEFT, label-only": peft_label_only, **ours}, work),
            {"log_probabilities": 1e-4},
        )


def _outcome(logits: Sequence[Tensor]) -> Outcome:
    """Return each word's probability among the label words."""
    return {"log_probabilities": torch.cat(list(logits)).cpu().log_softmax(-1)}


def _work(subject: Subject, level: Level, k: int, batches: Sequence[Batch], n_words: int) -> Work:
    """Count the work: the prompt is needed once for all rows, and of the unembedding only the label words' rows."""
    lengths, k = row_lengths(batches), k if level == "v1" else 0
    rows = text_rows(lengths, k, causal=True)
    head_rows = sum(map(len, batches)) * n_words / subject.vocab
    return Work(rows, padded_rows(lengths, k), LinearWeights.of(subject.bare).flops(rows, head_rows, training=False))
