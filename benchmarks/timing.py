"""Interleaved timing: every variant once per round, in rotated order; ratios are taken within rounds."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

Run = Callable[[], Any]
Clock = Callable[[Run], tuple[Any, float]]


def cpu_clock(run: Run) -> tuple[Any, float]:
    """Return what *run* returns, and the seconds of CPU time that this process spent on it.

    CPU time, because wall-clock time on a shared machine depends on other processes; with one thread the two agree on
    an idle machine.
    """
    start = time.process_time()
    result = run()
    return result, time.process_time() - start


def cuda_clock(run: Run) -> tuple[Any, float]:
    """Return what *run* returns, and the seconds between two events on the GPU's stream."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    result = run()
    end.record()
    torch.cuda.synchronize()
    return result, start.elapsed_time(end) / 1000


def clock_for(device: str) -> Clock:
    """Return the clock of a device."""
    return cuda_clock if device.startswith("cuda") else cpu_clock


def rotated(names: Sequence[str], by: int) -> list[str]:
    """Return *names* starting from the one at *by*.

    >>> rotated(["a", "b", "c"], 4)
    ['b', 'c', 'a']
    """
    by %= len(names)
    return [*names[by:], *names[:by]]


def interleave(
    runs: Mapping[str, Run], rounds: int, clock: Clock, after_round: Callable[[dict[str, Any]], None]
) -> dict[str, list[float]]:
    """Return the seconds of every run in every round; *after_round* gets a round's results, untimed."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        results = {}
        for name in rotated(list(runs), number):
            results[name], spent = clock(runs[name])
            seconds[name].append(spent)
        after_round(results)
    return seconds


@dataclass(frozen=True)
class Spread:
    """Median and range over rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarise one number per round."""
        return cls(statistics.median(values), min(values), max(values))


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Spread:
    """Return the spread of the per-round ratios: changes of the machine's speed between rounds cancel.

    >>> ratio([2.0, 30.0, 3.0], [1.0, 10.0, 2.0])
    Spread(median=2.0, low=1.5, high=3.0)
    """
    return Spread.of([a / b for a, b in zip(numerator, denominator, strict=True)])
