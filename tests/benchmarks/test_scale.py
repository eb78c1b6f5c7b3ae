"""What the benchmark at a paper's size says of the whole, by hand."""

from benchmarks.cases import QUICK
from benchmarks.measure import measure
from benchmarks.models import Models
from benchmarks.results import CaseResult, Measurement
from benchmarks.scale import Scale, scale_lines
from benchmarks.timing import Spread, cpu_clock
from benchmarks.workload import Workload


def test_the_case_runs_and_knows_its_store() -> None:
    (case,) = (case for case in QUICK if isinstance(case, Scale))
    workload: Workload = case.workload(Models())
    result = measure(case.name, {"inputs": case.inputs, "whole": case.whole}, workload, 1, cpu_clock, "cpu", 100.0)
    assert not any(m.failed for m in result.measurements)
    assert result.about["store kB an input"] > 1
    assert "Extrapolated from 32 to 2000 inputs" in scale_lines(result)


def test_the_whole_is_extrapolated_from_the_largest_number_of_inputs() -> None:
    case = CaseResult(
        "scale/x/k20-n150-8-16inputs",
        {"inputs": (8, 16), "whole": 2000},
        measurements=[
            _measured("eager, 8", 9e3, None),
            _measured("ours, 8", 1e4, 300.0),
            _measured("ours, 16", 18e3, 310.0),
        ],
        about={"model MB": 2800.0, "store kB an input": 250.0},
    )
    text = scale_lines(case)
    assert "Peak above the model (2800 MB): ours, 8: 300 MB; ours, 16: 310 MB" in text
    assert "1.11 [1.05-1.25] of the same passes" in text
    assert f"{18 / 16 * 2000 / 3600:.2f} hours" in text
    assert "500 MB of store" in text


def _measured(name: str, milliseconds: float, peak: float | None) -> Measurement:
    ours = name.startswith("ours")
    return Measurement(
        variant=name,
        milliseconds=Spread(milliseconds, milliseconds, milliseconds),
        tokens=1,
        padded_tokens=1,
        gflop_needed=1.0,
        gflop_done=1.0,
        share_of_peak=0.5,
        peak_mb=peak,
        against="eager" if ours else None,
        ratio=Spread(0.9, 0.8, 0.95) if ours else None,
    )
