"""The numbers of a reading compared with those of its nulls."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from promptscope.checks import checked
from promptscope.statistics import mean_interval, p_value_of_draws


@checked()
def compare_with_nulls(rows: pd.DataFrame, quantities: Mapping[str, bool]) -> pd.DataFrame:
    """Return one row for each quantity: its mean for the prompt, with an interval, and the same for each null.

    *rows* has one row for each position (or other unit) of each prompt that was read, with the columns `of` (its name),
    `kind` (`prompt`, `random`, `untrained` or `wayward`) and the quantities. *quantities* maps a column to True if
    higher is better, and to False if lower is; the test is one-sided in this direction.

    Columns:
        - `value`: mean over the prompt's positions; `low`, `high`: its 95 % bootstrap interval over positions (rough
          with few of them; NaN with one).
        - `random`: mean over the random prompts; `random_low`, `random_high`: 2.5 % and 97.5 % quantiles of their
          means; `p_value = (1 + #{random prompts at least as good}) / (1 + #{random prompts})`.
        - `untrained`, `wayward`: means of these prompts; NaN if there is none.

    >>> rows = pd.DataFrame({"of": ["prompt", "random 0"], "kind": ["prompt", "random"], "score": [0.9, 0.2]})
    >>> compare_with_nulls(rows, {"score": True})[["value", "random", "p_value"]].values.tolist()
    [[0.9, 0.2, 0.5]]
    """
    lines = [_line(rows, quantity, higher) for quantity, higher in quantities.items()]
    return pd.DataFrame(lines, columns=["quantity", "value", "low", "high", *_NULL_COLUMNS])


_NULL_COLUMNS = ("random", "random_low", "random_high", "p_value", "untrained", "wayward")


def _line(rows: pd.DataFrame, quantity: str, higher_is_more: bool) -> list:
    own = rows.loc[rows["kind"] == "prompt", quantity].to_numpy(dtype=np.float64)
    low, high = mean_interval(own)
    means = rows.groupby(["kind", "of"], sort=False)[quantity].mean()
    kinds = means.index.get_level_values("kind")
    draws = means[kinds == "random"].to_numpy(dtype=np.float64)
    random = [float(draws.mean()), *np.quantile(draws, [0.025, 0.975]).tolist()] if draws.size else [np.nan] * 3
    p_value = p_value_of_draws(float(own.mean()), draws, higher_is_more) if draws.size else np.nan
    others = [float(means[kinds == kind].mean()) if (kinds == kind).any() else np.nan for kind in _SINGLE]
    return [quantity, float(own.mean()), float(low), float(high), *random, p_value, *others]


_SINGLE = ("untrained", "wayward")
