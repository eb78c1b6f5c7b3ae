"""Tables made from the accounts' folders, with one row for each prompt or pair of prompts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from promptscope.statistics import hypergeometric_overlap
from recipes.causal_accounts.study import Cell

TOP = 10
"""Heads that are compared, of each prompt; a third of them where there are fewer than 30."""


def all_tables(folders: Mapping[Cell, Path]) -> dict[str, pd.DataFrame]:
    """Return `effects`, `directions`, `overlaps`, `words` and `swaps`."""
    return {
        "effects": _each(folders, effects),
        "directions": _each(folders, direction),
        "overlaps": overlaps({cell: top_heads(folder) for cell, folder in folders.items()}),
        "words": _each(folders, words),
        "swaps": _each(folders, swap),
    }


def _each(folders: Mapping[Cell, Path], row) -> pd.DataFrame:
    rows = []
    for cell, folder in folders.items():
        rows += [{"task": cell.task, "kind": cell.kind, "seed": cell.seed, **one} for one in row(folder)]
    return pd.DataFrame(rows)


def effects(folder: Path) -> list[dict[str, float]]:
    """Return the prompt's effect in nats, and how far it exceeds that of random prompts, with intervals."""
    numbers = pd.read_csv(folder / "numbers.csv").set_index("number")
    row = {}
    for short, name in (("effect", "effect (nats)"), ("beyond_random", "effect beyond a random prompt (nats)")):
        for column in ("value", "low", "high"):
            row[short if column == "value" else f"{short}_{column}"] = float(numbers.loc[name, column])
    row["heads_for_80"] = float(numbers["value"].get("heads that carry 80 %", np.nan))
    return [row]


def direction(folder: Path) -> list[dict[str, float]]:
    """Return the share of the effect that one direction recovers at its best layer, and each null at *its* best layer.

    The last layer that was tried is left out, because only the answer's logits are computed after it.
    """
    table = pd.read_csv(folder / "direction-shift.csv")
    best = _best_layers(table)
    if "rank 1" not in best.index:
        return []  # the effect is too small to divide by
    one = best.loc["rank 1"]
    row = {"layer": one["layer"], "share": one["value"], "low": one["low"], "high": one["high"]}
    return [row | {str(name).replace(" ", "_"): value for name, value in best["value"].items() if name != "rank 1"}]


def _best_layers(table: pd.DataFrame) -> pd.DataFrame:
    """Return each shift's row at its best layer, the last one excluded; shifts without a defined share are left out."""
    inner = table[table["layer"] < table["layer"].max()].dropna(subset=["value"])
    return inner.loc[inner.groupby("shift")["value"].idxmax()].set_index("shift")


def top_heads(folder: Path) -> tuple[frozenset[int], int]:
    """Return the heads that restore most of the effect, and how many were measured; by exact patching if it was run."""
    exact = folder / "routes-heads_restore.csv"
    table = pd.read_csv(exact if exact.is_file() else folder / "routes-heads_restore_estimate.csv")
    effect = pd.read_csv(folder / "numbers.csv").set_index("number").loc["effect (nats)", "value"]
    nats = table["nats"].to_numpy() * np.sign(effect)
    there = int(np.isfinite(nats).sum())
    order = np.argsort(-np.nan_to_num(nats, nan=-np.inf))
    return frozenset(order[: min(TOP, there // 3)].tolist()), there


def overlaps(heads: Mapping[Cell, tuple[frozenset[int], int]]) -> pd.DataFrame:
    """Return how many top heads each pair of prompts has in common, with the hypergeometric null."""
    rows = []
    for a, b in combinations(heads, 2):
        (mine, n), (theirs, _) = heads[a], heads[b]
        common = len(mine & theirs)
        expected, p = hypergeometric_overlap(n, len(mine), len(theirs), common)
        rows.append((a.task, a.kind, a.seed, b.task, b.kind, b.seed, len(mine), n, common, expected, p))
    columns = ["task", "kind", "seed", "other_task", "other_kind", "other_seed", "top", "heads", "common", "expected"]
    return pd.DataFrame(rows, columns=[*columns, "p_value"])


def words(folder: Path) -> list[dict[str, object]]:
    """Return top heads shared with prompts in words, and the share recovered by their shift or a random prompt's."""
    if not (folder / "words-heads.csv").is_file():
        return []
    heads = pd.read_csv(folder / "words-heads.csv")
    shifts = pd.read_csv(folder / "words-substitution.csv")
    best = _best_layers(shifts)
    rows = []
    for row in heads.itertuples():
        one: dict[str, object] = {
            "words": row.words, "words_effect": row.effect, "words_low": row.low, "words_high": row.high,
            "common": row.common, "expected": row.expected, "p_value": row.p_value,
        }  # fmt: skip
        if row.words in best.index:
            share = best.loc[row.words]
            one |= {"share": share["value"], "low": share["low"], "high": share["high"]}
            one["random_prompt"] = best["value"].get("random prompt", np.nan)
        rows.append(one)
    return rows


def swap(folder: Path) -> list[dict[str, float]]:
    """Return the share of the effect lost when all keys, or all values, are those of the untrained prompt (v2)."""
    path = folder / "layers-swap.csv"
    if not path.is_file():
        return []
    table = pd.read_csv(path).query("layer == -1").set_index("role")
    if table["value"].isna().any():
        return []
    return [
        {f"{role}{end}": float(table.loc[role, column])
         for role in ("keys", "values") for end, column in (("", "value"), ("_low", "low"), ("_high", "high"))}
    ]  # fmt: skip
