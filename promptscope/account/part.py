"""One part of an account: what it found, in sentences, tables and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from promptscope.probes import ProbeResult


@dataclass(frozen=True, eq=False)
class Part:
    """One part of an account: the answer to its `question`.

    - `sentences`: what was found, in words, made from the numbers;
    - `tables` (name -> DataFrame) and `results` (name -> `ps.ProbeResult`): the numbers themselves;
    - `omitted`: one line for each thing that could not be measured for this model, prompt or task, with the reason;
    - `numbers`: name -> (value, low, high), the numbers by which accounts are compared;
    - `seconds`: how long the part took.

    >>> part = Part("answers", "Answers", "Does the prompt help?", numbers={"effect": (1.2, 0.9, 1.5)})
    >>> part.key, part.numbers["effect"]
    ('answers', (1.2, 0.9, 1.5))
    """

    key: str
    title: str
    question: str
    sentences: tuple[str, ...] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    results: Mapping[str, ProbeResult] = field(default_factory=dict)
    omitted: tuple[str, ...] = ()
    numbers: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def is_empty(self) -> bool:
        """True if nothing was measured."""
        return not (self.tables or self.results)


class Findings:
    """Collects what a part of an account found, while it is measured.

    `say` adds sentences, `number` a number by which accounts are compared, and `omit` notes what cannot be measured.
    """

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.tables: dict[str, pd.DataFrame] = {}
        self.results: dict[str, ProbeResult] = {}
        self.omitted: list[str] = []
        self.numbers: dict[str, tuple[float, float, float]] = {}
        self.about: dict[str, Any] = {}

    def say(self, *sentences: str) -> None:
        """Add sentences; empty ones are ignored."""
        self.sentences += [sentence for sentence in sentences if sentence]

    def omit(self, *reasons: str) -> None:
        """Note what was left out, and why."""
        self.omitted += reasons

    def number(self, name: str, value: Any, low: Any = float("nan"), high: Any = float("nan")) -> None:
        """Add a number by which accounts are compared, with the ends of its interval."""
        self.numbers[name] = (float(value), float(low), float(high))

    def part(self, key: str, title: str, question: str, seconds: float) -> Part:
        """Return what was collected as a `Part`."""
        return Part(
            key, title, question, tuple(self.sentences), self.tables, self.results, tuple(self.omitted),
            self.numbers, self.about, seconds,
        )  # fmt: skip


def best_cell(result: ProbeResult, highest: bool = True) -> tuple[dict[str, Any], float, float, float]:
    """Return (coordinates, value, low, high) of the largest number of a result; of the smallest without *highest*."""
    values = result.values if highest else -result.values
    stacked = values.stack(cell=list(result.dims))
    at = int(stacked.fillna(-float("inf")).values.argmax())
    place = dict(zip(result.dims, stacked["cell"].values[at], strict=True))
    cell = result.data.sel(place)
    return place, float(cell["values"]), float(cell["low"]), float(cell["high"])


def names(items: Sequence[object], most: int = 6) -> str:
    """Write a list for people: "a, b and c"; of more than *most* entries it says how many follow.

    >>> names(["a", "b", "c"])
    'a, b and c'
    >>> names(range(9), most=2)
    '0, 1 and 7 more'
    """
    shown = [str(item) for item in items]
    if len(shown) > most:
        shown = [*shown[:most], f"{len(shown) - most} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
