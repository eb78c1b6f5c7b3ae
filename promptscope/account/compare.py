"""Several accounts in one table: their numbers over runs, and whether the prompts act through the same heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from promptscope.account.account import Account
from promptscope.account.wording import p_words
from promptscope.checks import checked
from promptscope.probes import Saved
from promptscope.statistics import hypergeometric_overlap

_TOP = 10


@dataclass(frozen=True, eq=False)
class Comparison(Saved):
    """Accounts of several prompts in one table.

    - `numbers`: one row for each number, one column for each account: the number with its 95 % interval over inputs.
      For three or more accounts also `mean over runs`, with the 95 % t interval over the accounts.
    - `heads`: one row for each pair of accounts: how many of their ten heads with the largest shares (of a third of all
      heads, where there are fewer than 30) are `common` to both, how many are `expected` by chance, and the
      hypergeometric `p_value`. None where the accounts do not have shares of the same heads.
    - `sentences`: what `heads` says, in words.

    >>> found = Comparison(pd.DataFrame({"number": ["effect"], "seed 0": ["1.2"]}), heads=None, sentences=())
    >>> found.numbers["number"].tolist()
    ['effect']
    """

    numbers: pd.DataFrame
    heads: pd.DataFrame | None
    sentences: tuple[str, ...]


@checked()
def compare(accounts: Sequence[Account]) -> Comparison:
    """Compare accounts in one table, one column each; they may differ in seed, kind of prompt or task.

    Accounts with the same name share one column: give each `ps.explain(..., name=...)` its own.

    >>> import promptscope as ps
    >>> def account(name: str, accuracy: float) -> ps.Account:
    ...     numbers = {"accuracy": (accuracy, accuracy - 0.1, accuracy + 0.1)}
    ...     return ps.Account(name, {"answers": ps.account.Part("answers", "Answers", "Right?", numbers=numbers)})
    >>> compare([account("seed 0", 0.7), account("seed 1", 0.8)]).numbers.values.tolist()
    [['accuracy', '0.70 (0.60 to 0.80)', '0.80 (0.70 to 0.90)']]
    """
    values: dict[str, dict[str, tuple[float, float, float]]] = {}
    for account in accounts:
        for row in account.numbers.itertuples():
            values.setdefault(str(row.number), {})[account.name] = (row.value, row.low, row.high)
    rows = []
    for number, of in values.items():
        line: dict[str, object] = {"number": number}
        for account in accounts:
            line[account.name] = _cell(*of[account.name]) if account.name in of else ""
        there = np.array([value for value, _, _ in of.values() if np.isfinite(value)])
        if len(accounts) > 2:
            line["mean over runs"] = _mean(there)
        rows.append(line)
    heads = _heads(accounts)
    return Comparison(pd.DataFrame(rows), heads, tuple(_sentences(heads)))


def _mean(values: np.ndarray) -> str:
    if len(values) < 3:
        return ""
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return _cell(values.mean(), values.mean() - half, values.mean() + half)


def _cell(value: float, low: float, high: float) -> str:
    if not np.isfinite(value):
        return "undefined"
    text = f"{value:.2f}" if value % 1 else f"{value:.0f}"
    return (f"{text} ({low:.2f} to {high:.2f})" if np.isfinite(low) else text).replace("-", "−")


def _heads(accounts: Sequence[Account]) -> pd.DataFrame | None:
    tops = {}
    size = None
    for account in accounts:
        routes = account.parts.get("routes")
        keys = ("heads_restore", "heads_restore_estimate")
        result = next((routes.results[key] for key in keys if routes and key in routes.results), None)
        if result is None or (size is not None and size != result.data["nats"].shape):
            return None
        size = result.data["nats"].shape
        effect = account["answers"].numbers.get("effect (nats)", (1.0,))[0] if "answers" in account.parts else 1.0
        flat = (result.data["nats"].values * np.sign(effect)).ravel()
        tops[account.name] = set(
            np.argsort(-np.nan_to_num(flat, nan=-np.inf))[: min(_TOP, flat.size // 3 or 1)].tolist()
        )
    rows = []
    n = int(np.prod(size)) if size else 0
    for a, b in combinations(tops, 2):
        common = len(tops[a] & tops[b])
        expected, p = hypergeometric_overlap(n, len(tops[a]), len(tops[b]), common)
        rows.append((a, b, common, expected, p))
    return pd.DataFrame(rows, columns=["run", "other run", "common", "expected", "p_value"])


def _sentences(heads: pd.DataFrame | None) -> list[str]:
    said = []
    for row in [] if heads is None else heads.itertuples():
        verdict = (
            "act through the same heads more often than chance"
            if row.p_value < 0.05
            else "do not share more heads than chance would give"
        )
        said.append(
            f"{row.run} and {row._2}: {row.common} of their top heads are the same, "
            f"{row.expected:.1f} expected by chance ({p_words(float(row.p_value))}): they {verdict}."
        )
    return said
