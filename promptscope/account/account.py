"""A causal account of one prompt: its parts, on a page and in a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from promptscope.account.part import Part
from promptscope.errors import ProbeError, nearest
from promptscope.files import write_json, write_text
from promptscope.probes import Saved


@dataclass(frozen=True, eq=False)
class Account(Saved):
    """What `ps.explain` found about one prompt: its `parts`, by key.

    `account["tokens"]` is a `ps.account.Part`, with sentences, tables and results. `save` writes all of it to a folder,
    with a CSV file for each table; `page` makes an HTML page; `numbers` is the table by which accounts are compared.

    Raises:
        ProbeError: `account[key]` for a part that was not measured.

    >>> part = Part("answers", "Answers", "Does it solve the task?", numbers={"accuracy": (0.9, 0.8, 0.97)})
    >>> Account("my prompt", {"answers": part}).numbers["value"].tolist()
    [0.9]
    """

    name: str
    parts: Mapping[str, Part]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Part:
        if key not in self.parts:
            raise ProbeError(
                f"the account has no part {key!r}.{nearest(key, self.parts)} There are: {', '.join(self.parts)}."
            )
        return self.parts[key]

    @property
    def numbers(self) -> pd.DataFrame:
        """Table of the numbers by which accounts are compared, one row each.

        Columns `part`, `number` (its name, with the units), `value`, and `low`, `high`: the 95 % interval over inputs
        (NaN where the number has none).
        """
        rows = [(part.key, name, *values) for part in self.parts.values() for name, values in part.numbers.items()]
        return pd.DataFrame(rows, columns=["part", "number", "value", "low", "high"])

    @property
    def seconds(self) -> pd.DataFrame:
        """Table of how many seconds each part took: columns `part`, `seconds`."""
        return pd.DataFrame(
            {"part": [p.title for p in self.parts.values()], "seconds": [p.seconds for p in self.parts.values()]}
        )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the account to *folder*; `ps.load_result(folder)` reads it back equal.

        For other programs the folder also has `account.json` (sentences, what was left out and why, provenance),
        `numbers.csv` (the table `numbers`) and a CSV file for each table and result.
        """
        folder = Path(folder)
        super().save(folder)
        said = {}
        for key, part in self.parts.items():
            for name, result in part.results.items():
                write_text(folder / f"{key}-{name}.csv", result.to_dataframe().to_csv(index=False))
            said[key] = {
                "title": part.title, "sentences": list(part.sentences), "omitted": list(part.omitted),
                "about": dict(part.about), "seconds": round(part.seconds, 2),
            }  # fmt: skip
        write_text(folder / "numbers.csv", self.numbers.to_csv(index=False))
        write_json(folder / "account.json", {"name": self.name, "parts": said, "provenance": dict(self.provenance)})

    def page(self):
        """Return the account as a page (`ps.Report`); `page().write(path)` writes it as one HTML file."""
        from promptscope.account.page import account_page

        return account_page([self])

    def __repr__(self) -> str:
        lines = [f"Account of {self.name}"]
        for part in self.parts.values():
            lines.append(f"{part.title}:")
            lines += [f"  {sentence}" for sentence in part.sentences] + [
                f"  (left out: {reason})" for reason in part.omitted
            ]
        return "\n".join(lines)
