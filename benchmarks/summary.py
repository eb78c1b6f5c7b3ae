"""One line per case: how many times as fast as the baseline each variant is, and the largest difference."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from benchmarks.results import CaseResult, Measurement, Results
from benchmarks.timing import Spread


@dataclass(frozen=True)
class Line:
    """A baseline and its variants; `size` distinguishes the sizes of one case."""

    case: str
    size: str
    baseline: Measurement
    variants: dict[str, Measurement]


def lines(case: CaseResult) -> Iterator[Line]:
    """Yield a line for every baseline of a case."""
    for baseline in case.measurements:
        if baseline.against is None:
            mine = [m for m in case.measurements if m.against == baseline.variant]
            size = _common_end([baseline, *mine])
            yield Line(case.case, size, baseline, {m.variant.removesuffix(size): m for m in mine})


def summary(results: Results) -> str:
    """Return a Markdown table for each kind of case, with columns for the variants that this kind has."""
    tables = _tables([line for case in results.cases for line in lines(case)])
    if isinstance(results.control, Results):
        tables += _tables([line for case in results.control.cases for line in lines(case)], "control: ")
    return "\n\n".join(tables)


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])


def milliseconds(m: Measurement) -> str:
    """Return the median time with four digits, or to the millisecond."""
    time = m.milliseconds.median
    return f"{time:,.0f}" if time >= 1000 else f"{time:.4g}"


def spread_text(spread: Spread) -> str:
    """Return the median and the range."""
    return f"{spread.median:.2f} [{spread.low:.2f}-{spread.high:.2f}]"


def _tables(every: list[Line], what: str = "") -> list[str]:
    kinds = dict.fromkeys(line.case.partition("/")[0] for line in every)
    return [_table([line for line in every if line.case.startswith(f"{kind}/")], what) for kind in kinds]


def _table(some: list[Line], what: str) -> str:
    names = _variants(some)
    rows = [
        [
            f"{what}{line.case}{line.size}",
            f"{line.baseline.variant.removesuffix(line.size)}, {milliseconds(line.baseline)} ms",
            *(_ratio(line.variants.get(name)) for name in names),
            _largest(line),
        ]
        for line in some
    ]
    return markdown(["case", "baseline", *names, "largest difference"], rows)


def _common_end(measurements: list[Measurement]) -> str:
    """Return the size that all names of a group end with, as in `, k=50`; empty for a group without sizes."""
    ends = {m.variant.rpartition(", ")[2] for m in measurements}
    sized = len(ends) == 1 and all(", " in m.variant for m in measurements)
    return f", {ends.pop()}" if sized else ""


def _variants(some: Iterable[Line]) -> list[str]:
    names = dict.fromkeys(name for line in some for name in line.variants)
    return sorted(names, key=lambda name: not name.startswith("promptscope"))


def _ratio(m: Measurement | None) -> str:
    if m is None or m.ratio is None:
        return ""
    return "FAILED" if m.failed else spread_text(m.ratio)


def _largest(line: Line) -> str:
    found: dict[str, float] = {}
    for m in line.variants.values():
        for name, value in m.differences.items():
            found[name] = max(value, found.get(name, 0.0))
    return "; ".join(f"{name} {value:.0e}" for name, value in found.items())
