"""Which claims an account makes, as yes or no, to compare a trained network with an untrained one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from promptscope.account import Account

CLAIMS = {
    "the prompt raises the right answer": ("effect (nats)", lambda value, low, high: low > 0),
    "it does so beyond random prompts": ("effect beyond a random prompt (nats)", lambda value, low, high: low > 0),
    "one head carries most of it": ("largest share of one head", lambda value, low, high: low > 0.5),
    "three heads or fewer carry 80 %": ("heads that carry 80 %", lambda value, low, high: value <= 3),
    "it is one direction": ("best share of one direction", lambda value, low, high: low > 0.8),
    "two tokens or fewer keep 80 %": ("tokens that keep 80 %", lambda value, low, high: value <= 2),
}
"""Claim: the number of `Account.numbers` that decides it, and how. Of 8 heads and 4 tokens."""


def claims_table(accounts: Mapping[tuple[str, str], Account]) -> pd.DataFrame:
    """Return a row for each source and claim: what each network's account says, and whether both make it.

    `fooled`: the account of the untrained network makes the claim too, so it says nothing about what was learnt.
    """
    rows = []
    for source in dict.fromkeys(source for source, _ in accounts):
        for claim, (number, holds) in CLAIMS.items():
            said = {}
            for name in ("trained", "untrained"):
                table = accounts[source, name].numbers.set_index("number")
                there = number in table.index and np.isfinite(table.loc[number, "value"])
                cell = table.loc[number, ["value", "low", "high"]] if there else None
                said[name] = (None, np.nan) if cell is None else (bool(holds(*cell)), float(cell["value"]))
            rows.append((source, claim, *said["trained"], *said["untrained"], said["untrained"][0] is True))
    columns = ["source", "claim", "trained", "trained_value", "untrained", "untrained_value", "fooled"]
    return pd.DataFrame(rows, columns=columns)
