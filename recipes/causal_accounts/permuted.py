"""Whether prompts of the same task share more heads than prompts of different tasks: a test that permutes tasks."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pandas as pd

MOST = 50_000
"""Permutations that are tried: all, where there are no more; else so many drawn ones."""


def same_task_test(pairs: pd.DataFrame, seed: int = 0) -> tuple[float, float, float]:
    """Return (mean overlap of pairs with the same task, of pairs with different tasks, p-value).

    *pairs*: columns `task`, `other_task`, `common`, and `group`, `other_group` (kind and seed): within a group, tasks
    are exchangeable under the null that heads do not depend on the task. One-sided; exact unless there are too many
    permutations, which are then drawn at random. NaN if no pair has the same task, or none has different tasks.

    >>> rows = [("a", "a", 9), ("b", "b", 9), ("a", "b", 1), ("b", "a", 1)]
    >>> table = pd.DataFrame(rows, columns=["task", "other_task", "common"]).assign(group="x", other_group="y")
    >>> same_task_test(table)
    (9.0, 1.0, 0.5)
    """
    same = pairs["task"] == pairs["other_task"]
    if not len(pairs) or same.all() or not same.any():
        return float("nan"), float("nan"), float("nan")
    common = pairs["common"].to_numpy(float)
    tasks = sorted(set(pairs["task"]) | set(pairs["other_task"]))
    groups = sorted(set(pairs["group"]) | set(pairs["other_group"]))
    mine = pairs["group"].map(groups.index).to_numpy(), pairs["task"].map(tasks.index).to_numpy()
    theirs = pairs["other_group"].map(groups.index).to_numpy(), pairs["other_task"].map(tasks.index).to_numpy()

    def difference(orders: np.ndarray) -> float:
        equal = orders[mine] == orders[theirs]
        return common[equal].mean() - common[~equal].mean()

    found = difference(np.tile(np.arange(len(tasks)), (len(groups), 1)))
    each = [np.array(order) for order in permutations(range(len(tasks)))]
    if len(each) ** (len(groups) - 1) <= MOST:  # permuting all groups alike changes nothing: keep the first
        orders = (np.stack([each[0], *rest]) for rest in product(each, repeat=len(groups) - 1))
        differences = np.array([difference(one) for one in orders])
        p = float((differences >= found - 1e-12).mean())
    else:
        draw = np.random.default_rng(seed)
        differences = np.array(
            [difference(np.stack([draw.permutation(len(tasks)) for _ in groups])) for _ in range(MOST)]
        )
        p = float(((differences >= found - 1e-12).sum() + 1) / (MOST + 1))
    return float(common[same].mean()), float(common[~same].mean()), p
