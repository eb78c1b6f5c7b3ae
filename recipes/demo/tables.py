"""The demo's numbers as tables."""

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
import xarray as xr
from scipy.stats import binomtest

import promptscope as ps


def score_table(right: Mapping[str, Mapping[str, list[bool]]]) -> pd.DataFrame:
    """Return accuracy with its Wilson 95 % interval for every task and condition."""
    rows = []
    for task, conditions in right.items():
        for condition, hits in conditions.items():
            low, high = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
            rows.append((task, condition, len(hits), sum(hits), sum(hits) / len(hits), low, high))
    return pd.DataFrame(rows, columns=["task", "condition", "n", "right", "accuracy", "low", "high"])


def join(results: Mapping[str, ps.ProbeResult]) -> ps.ProbeResult:
    """Join one result per task into one with the dimension `task`."""
    first = next(iter(results.values()))
    parts = [result.data[["values", "low", "high"]] for result in results.values()]
    data = xr.concat(parts, pd.Index(list(results), name="task"))
    n_examples = sum(result.n_examples for result in results.values())
    n_skipped = sum(result.n_skipped for result in results.values())
    return replace(first, data=data, n_examples=n_examples, n_skipped=n_skipped)


def head_table(kl: ps.ProbeResult, variability: ps.ProbeResult) -> pd.DataFrame:
    """Return one row per task, prompt, layer and head: attention KL, and variability of the frozen model."""
    columns = {"value": "attention_kl", "low": "kl_low", "high": "kl_high"}
    plain = variability.to_dataframe().rename(columns={"value": "variability"})
    table = kl.to_dataframe().rename(columns=columns)
    return table.merge(plain[["task", "layer", "head", "variability"]], on=["task", "layer", "head"])
