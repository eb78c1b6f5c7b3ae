"""The timer's arithmetic, on clocks that are made up."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from benchmarks.timing import Spread, cpu_clock, interleave, ratio, rotated


class ScriptedClock:
    """Says that every run takes what the script has for it, and keeps the order of the runs."""

    def __init__(self, script: dict[str, list[float]]) -> None:
        self.script = {name: list(times) for name, times in script.items()}
        self.order: list[str] = []

    def __call__(self, run: Callable[[], Any]) -> tuple[Any, float]:
        name = run()
        self.order.append(name)
        return name, self.script[name].pop(0)


SCRIPT = {"slow": [4.0, 9.0, 8.0], "fast": [2.0, 3.0, 1.0]}


def test_runs_are_interleaved_in_an_order_that_turns() -> None:
    clock = ScriptedClock(SCRIPT)
    rounds: list[dict[str, Any]] = []
    seconds = interleave({name: partial(str, name) for name in SCRIPT}, 3, clock, rounds.append)
    assert clock.order == ["slow", "fast", "fast", "slow", "slow", "fast"]
    assert seconds == SCRIPT
    assert rounds == [{"slow": "slow", "fast": "fast"}] * 3


def test_every_variant_takes_every_place() -> None:
    names = ["a", "b", "c"]
    orders = [rotated(names, number) for number in range(3)]
    for place in range(3):
        assert sorted(order[place] for order in orders) == names


def test_ratio_is_the_median_of_rounds_and_not_of_times() -> None:
    # Per round 2, 3, 8; the ratio of the medians, 8 / 2, would be 4.
    assert ratio(SCRIPT["slow"], SCRIPT["fast"]) == Spread(median=3.0, low=2.0, high=8.0)


def test_ratio_of_different_numbers_of_rounds_is_refused() -> None:
    with pytest.raises(ValueError):
        ratio([1.0, 2.0], [1.0])


def test_cpu_clock_counts_work_and_not_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([10.0, 12.5])
    monkeypatch.setattr("time.process_time", lambda: next(ticks))
    monkeypatch.setattr("time.perf_counter", lambda: pytest.fail("wall clock"))
    assert cpu_clock(lambda: "done") == ("done", 2.5)
