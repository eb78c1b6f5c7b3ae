"""The paper's splits (Table 5): which records train, choose the best prompt, and score."""

import random
from collections.abc import Mapping
from dataclasses import replace

import promptscope as ps
from recipes.common import with_validation
from recipes.explosive_prompts.tables import NAMES

HALVED = {
    *(
        "superglue/boolq",
        "superglue/cb",
        "superglue/wic",
        "superglue/wsc",
        "cola",
        "stsb_score",
        "rte",
        "superglue/rte",
    ),
    *("mrqa/hotpotqa", "mrqa/newsqa", "winogrande", "scitail", "paws_wiki"),
}
"""Half of the validation split validates, the other half tests. SciTail and PAWS-Wiki have a test split of their own,
which the paper leaves alone: its counts are halves of their validation splits."""
FROM_TRAIN = {
    **dict.fromkeys(("superglue/multirc", "sst2"), 1_000),
    **dict.fromkeys(("qqp", "mnli", "qnli", "mrqa/nq", "mrqa/searchqa", "yelp_polarity"), 10_000),
}
"""So many training records validate; the official validation split (of Yelp the test split) tests."""
LARGEST = {"yelp_polarity": 100_000}
"""Yelp trains on a sample of its 560,000 records."""


def paper_splits(tasks: Mapping[str, ps.Task], seed: int = 0) -> dict[str, ps.Task]:
    """Return the tasks split as Table 5 counts; others get a validation split if they have none.

    The paper's text says that all sets of fewer than 10,000 records are halved and all others give up training records;
    its table does otherwise for HotpotQA, NewsQA, WinoGrande, SciTail and PAWS-Wiki, and keeps MRPC's own splits. The
    table is followed. Data sets that are too small to give up so many records give up a tenth.
    """
    return {name: _split(name, task, seed) for name, task in tasks.items()}


def _split(name: str, task: ps.Task, seed: int) -> ps.Task:
    generator = random.Random(seed)
    if name in HALVED:
        source = "validation" if name in ("scitail", "paws_wiki") and "validation" in task.splits else "test"
        rows = generator.sample(task.split(source), len(task.split(source)))
        half = len(rows) // 2
        splits = {"train": task.split("train"), "validation": tuple(rows[:half]), "test": tuple(rows[half:])}
        return replace(task, splits=splits, source=None)
    if name in FROM_TRAIN:
        train = generator.sample(task.split("train"), len(task.split("train")))
        n = min(FROM_TRAIN[name], max(1, len(train) // 10))
        kept = train[n : n + LARGEST.get(name, len(train))]
        splits = {"train": tuple(kept), "validation": tuple(train[:n]), "test": task.split("test")}
        return replace(task, splits=splits, source=None)
    return with_validation({name: task})[name]


def split_cells(tasks: Mapping[str, ps.Task]) -> dict[tuple[str, str], float]:
    """Return how many records each split has, as Table 5 names them."""
    return {
        (NAMES.get(name, name), split): float(len(task.split(split)))
        for name, task in tasks.items()
        for split in ("train", "validation", "test")
    }
