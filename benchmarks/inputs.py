"""Random token ids as batches: fixed or ragged lengths, one label token per row."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from benchmarks.models import Subject
from promptscope.tasks import Batch, Encoded, collate

_FIRST_ID = 3  # lower ids are special tokens in most vocabularies
_SEED = 11  # with this seed, 32 log-uniform lengths of 10 to 120 have the mean 48


@dataclass(frozen=True)
class Lengths:
    """Number of tokens per row: always `low`, or random from `low` to `high`, uniform or log-uniform."""

    low: int
    high: int | None = None
    spread: Literal["uniform", "log-uniform"] = "uniform"

    def draw(self, n: int, generator: torch.Generator) -> list[int]:
        """Draw the lengths of *n* rows."""
        if self.high is None:
            return [self.low] * n
        u = torch.rand(n, generator=generator).tolist()
        if self.spread == "uniform":
            return [min(self.high, math.floor(self.low + x * (self.high - self.low + 1))) for x in u]
        return [round(self.low * (self.high / self.low) ** x) for x in u]

    def __str__(self) -> str:
        if self.high is None:
            return f"n{self.low}"
        return f"ragged{self.low}-{self.high}"


def random_batches(
    subject: Subject, lengths: Lengths, rows: int, n_batches: int = 1, n_targets: int = 1, seed: int = _SEED
) -> list[Batch]:
    """Make right-padded batches of `random_examples`: each row has a label of *n_targets* tokens."""
    examples = random_examples(subject, lengths, rows * n_batches, n_targets, seed)
    batches = [collate(examples[start : start + rows], 0) for start in range(0, len(examples), rows)]
    return [batch.to(subject.bare.device) for batch in batches]


def random_examples(subject: Subject, lengths: Lengths, n: int, n_targets: int = 1, seed: int = _SEED) -> list[Encoded]:
    """Make encoded records; the label is part of a row's length in causal models only."""
    generator = torch.Generator().manual_seed(seed)
    examples = []
    for number, length in enumerate(lengths.draw(n, generator)):
        ids = torch.randint(_FIRST_ID, subject.vocab, (length,), generator=generator).tolist()
        label = torch.randint(_FIRST_ID, subject.vocab, (n_targets,), generator=generator).tolist()
        examples.append(_encode(subject.hooked.family.kind, str(number), ids, label))
    return examples


def unlabelled_examples(subject: Subject, lengths: Lengths, n: int, seed: int = _SEED) -> list[Encoded]:
    """Make encoded records of text without a label for a causal model, as probes take them."""
    generator = torch.Generator().manual_seed(seed)
    rows = [
        torch.randint(_FIRST_ID, subject.vocab, (length,), generator=generator).tolist()
        for length in lengths.draw(n, generator)
    ]
    return [_record(str(number), ids, [-100] * len(ids), None, len(ids)) for number, ids in enumerate(rows)]


def row_lengths(batches: Sequence[Batch]) -> list[list[int]]:
    """Return the number of real tokens of every row of every batch."""
    return [batch.attention_mask.sum(dim=1).tolist() for batch in batches]


def _encode(kind: str, name: str, ids: list[int], label: list[int]) -> Encoded:
    n = len(ids)
    if kind == "seq2seq":
        return _record(name, ids, label, [0, *label[:-1]], 0)
    if kind == "masked":
        mask = n // 2
        return _record(name, ids, [label[0] if at == mask else -100 for at in range(n)], None, mask)
    start = n - len(label)
    ids = [*ids[:start], *label]
    targets = [-100] * (start - 1) + label + [-100]  # the logits at t predict token t + 1
    return _record(name, ids, targets, None, start)


def _record(name: str, ids: list[int], targets: list[int], decoder_ids: list[int] | None, start: int) -> Encoded:
    return Encoded(name, ids, ["text"] * len(ids), [False] * len(ids), targets, decoder_ids, start, False)
