"""Measures one case: runs its variants, compares their results and computes its figures."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from benchmarks.equality import Outcome, differences, within
from benchmarks.flops import CountLinearFlops
from benchmarks.memory import peak_mb
from benchmarks.results import CaseResult, Measurement
from benchmarks.timing import Clock, Spread, interleave, ratio
from benchmarks.workload import Variant, Workload


def measure(
    name: str, settings: dict[str, Any], workload: Workload, rounds: int, clock: Clock, device: str, peak_gflops: float
) -> CaseResult:
    """Run every variant once to warm up, count operations and compare results, then *rounds* times interleaved.

    Results are compared in every round and the largest difference is kept, so that an error is seen even if it comes
    from state that an earlier run has left.
    """
    comparison = _Comparison(workload)
    outcomes: dict[str, Outcome] = {}
    memory: dict[str, float | None] = {}
    flops: dict[str, float | None] = {}
    for variant in workload.variants:
        with CountLinearFlops() if variant.counted else nullcontext() as counted:
            outcomes[variant.name], memory[variant.name] = peak_mb(variant.run, device)
        flops[variant.name] = None if counted is None else counted.total / 1e9
    comparison.add(outcomes)
    del outcomes
    seconds = interleave({v.name: v.run for v in workload.variants}, rounds, clock, comparison.add)
    measurements = []
    for variant in workload.variants:
        times = seconds[variant.name]
        found = comparison.largest.get(variant.name, {})
        spent = Spread.of([1000 * t for t in times])
        measurements.append(
            Measurement(
                variant=variant.name,
                milliseconds=spent,
                tokens=variant.work.tokens,
                padded_tokens=variant.work.padded_tokens,
                gflop_needed=variant.work.flops / 1e9,
                gflop_done=flops[variant.name],
                share_of_peak=variant.work.flops / 1e9 / (spent.median / 1000) / peak_gflops,
                peak_mb=memory[variant.name],
                against=variant.against,
                ratio=ratio(seconds[variant.against], times) if variant.against else None,
                grows_from=variant.grows_from,
                growth=ratio(times, seconds[variant.grows_from]) if variant.grows_from else None,
                differences=found,
                failed=variant.against is not None and not within(found, workload.limits),
            )
        )
    return CaseResult(name, settings, dict(workload.limits), measurements, dict(workload.about))


class _Comparison:
    """Keeps the largest difference of every variant over rounds.

    A baseline is compared only if the case has a truth for it; its difference is shown, and no limit applies to it.
    """

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.largest: dict[str, dict[str, float]] = {}

    def add(self, outcomes: Mapping[str, Outcome]) -> None:
        """Compare a round's outcomes."""
        for variant in self.workload.variants:
            truth = self._truth(variant, outcomes)
            comes_to_nothing = variant.against is None and not outcomes[variant.name]
            if truth is not None and not comes_to_nothing:
                kept = self.largest.setdefault(variant.name, {})
                for entry, value in differences(outcomes[variant.name], truth).items():
                    kept[entry] = max(value, kept.get(entry, 0.0))

    def _truth(self, variant: Variant, outcomes: Mapping[str, Outcome]) -> Outcome | None:
        baseline = variant.against or variant.name
        if baseline in self.workload.truths:
            return self.workload.truths[baseline]
        return outcomes[variant.against] if variant.against else None
