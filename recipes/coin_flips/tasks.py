"""Flips of the coins that a prompt is tuned for, as a task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import promptscope as ps
from recipes.coin_flips.network import FLIPS

SOURCES = {"one coin": (0.8,), "two coins": (0.2, 0.8)}
"""Biases, each as likely. What a prompt of tokens makes of a uniform prior has one peak: it fits one coin."""


def coin_task(name: str, n_train: int, n_test: int, longest: int = 24, seed: int = 0) -> ps.Task:
    """Return records of 1 to *longest* flips of one coin, drawn anew for each; the label is its next flip."""
    generator = np.random.default_rng(seed)

    def records(n: int) -> list[dict[str, str]]:
        made = []
        for _ in range(n):
            bias = generator.choice(SOURCES[name])
            flips = (generator.random(generator.integers(1, longest + 1) + 1) < bias).astype(int)
            made.append({"text": " ".join(FLIPS[i] for i in flips[:-1]), "label": FLIPS[flips[-1]]})
        return made

    return ps.Task.from_records(
        {"train": records(n_train), "test": records(n_test)},
        template=("{text}", "{label}"),
        verbalizer={word: word for word in FLIPS},
        name=name,
    )


def counts(task: ps.Task, split: str = "test") -> tuple[np.ndarray, np.ndarray]:
    """Return (heads, flips) of each record's text."""
    texts: Sequence[list[str]] = [record.fields["text"].split() for record in task.split(split)]
    return np.array([float(text.count(FLIPS[1])) for text in texts]), np.array([float(len(text)) for text in texts])
