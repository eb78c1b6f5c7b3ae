"""What a preset would train, known before any training: a table in words, and records by label."""

import pandas as pd

import promptscope as ps


def in_words(table: pd.DataFrame) -> str:
    """Return a plan with its sums; columns `runs` (of one task), `all_steps` (of these) and `batch_size`.

    >>> table = pd.DataFrame([("sst2", 8, 2, 100)], columns=["task", "batch_size", "runs", "all_steps"])
    >>> in_words(table).splitlines()[-1]
    '2 runs, 100 steps, 800 texts read forwards and backwards'
    """
    texts = int((table["all_steps"] * table["batch_size"]).sum())
    return (
        f"{table.to_string(index=False)}\n{int(table['runs'].sum())} runs, {int(table['all_steps'].sum()):,} steps, "
        f"{texts:,} texts read forwards and backwards"
    )


def counts(task: ps.Task, split: str, limit: int | None = None) -> str:
    """Return how many records a split has and, for classification tasks, how many of each label.

    >>> counts(ps.load_task("continent_en"), "test", limit=10).startswith("10: ")
    True
    """
    records = task.split(split)[:limit]
    if task.verbalizer is None:
        return str(len(records))
    labels = pd.Series([record.label for record in records]).value_counts().sort_index()
    return f"{len(records)}: {', '.join(f'{n} {label}' for label, n in labels.items())}"
