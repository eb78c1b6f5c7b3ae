"""The results of a session of measurements, as plain records that are written to JSON and read again."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from benchmarks.timing import Spread

SCHEMA = 1


@dataclass(frozen=True)
class Measurement:
    """One variant of a case. Times in milliseconds, work in GFLOP (linear layers), memory in MB added by the run.

    `ratio` is the baseline's time divided by this variant's: higher is faster; None for the baseline. `growth` is this
    variant's time divided by its time on less work. `share_of_peak` is the work that is needed, divided by what the
    machine could do in that time.
    """

    variant: str
    milliseconds: Spread
    tokens: int
    padded_tokens: int
    gflop_needed: float
    gflop_done: float | None
    share_of_peak: float
    peak_mb: float | None
    against: str | None = None
    ratio: Spread | None = None
    grows_from: str | None = None
    growth: Spread | None = None
    differences: dict[str, float] = field(default_factory=dict)
    failed: bool = False


@dataclass(frozen=True)
class CaseResult:
    """All variants of a case; `not_run` says why there are none, and `failed` that this is an error."""

    case: str
    settings: dict[str, Any]
    limits: dict[str, float] = field(default_factory=dict)
    measurements: list[Measurement] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)
    not_run: str | None = None
    failed: bool = False


@dataclass(frozen=True)
class Proof:
    """A comparison of results that is not timed."""

    name: str
    differences: dict[str, float]
    limits: dict[str, float]
    failed: bool


@dataclass
class Results:
    """A session: machine, versions, proofs, cases.

    `prepacking`: seconds and MB that packing a model's weights took, by model. `control`: the same session with MKL on
    AVX-512, or why there is none.
    """

    date: str
    rounds: int
    hardware: dict[str, Any]
    versions: dict[str, str]
    gemm_gflops: dict[str, float]
    prepacking: dict[str, dict[str, float]] = field(default_factory=dict)
    proofs: list[Proof] = field(default_factory=list)
    cases: list[CaseResult] = field(default_factory=list)
    control: "Results | str | None" = None

    @property
    def failures(self) -> list[str]:
        """Names of the proofs and variants that are not equal to what they are compared with."""
        failed = [proof.name for proof in self.proofs if proof.failed]
        failed += [case.case for case in self.cases if case.failed]
        failed += [f"{case.case}: {m.variant}" for case in self.cases for m in case.measurements if m.failed]
        return failed + (self.control.failures if isinstance(self.control, Results) else [])

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Results":
        """Read what `to_json` wrote.

        Raises:
            ValueError: written by another version of this file.
        """
        values = dict(values)
        schema = values.pop("schema", SCHEMA)
        if schema != SCHEMA:
            raise ValueError(f"expected results of schema {SCHEMA}, got schema {schema!r}: run the benchmark again")
        control = values.pop("control")
        return cls(
            **{
                **values,
                "proofs": [Proof(**proof) for proof in values["proofs"]],
                "cases": [_case(case) for case in values["cases"]],
                "control": cls.from_json(control) if isinstance(control, dict) else control,
            }
        )


def newest(sessions: Iterable[Results]) -> list[Results]:
    """Return sessions in the order of their dates; a case that several of them have is kept in the newest only."""
    ordered = sorted(sessions, key=lambda results: datetime.fromisoformat(results.date))
    owner = {case.case: results.date for results in ordered for case in results.cases}
    return [
        replace(results, cases=[case for case in results.cases if owner[case.case] == results.date])
        for results in ordered
    ]


def _case(values: dict[str, Any]) -> CaseResult:
    return CaseResult(**{**values, "measurements": [_measurement(m) for m in values["measurements"]]})


def _measurement(values: dict[str, Any]) -> Measurement:
    spreads = {name: Spread(**values[name]) if values[name] else None for name in ("milliseconds", "ratio", "growth")}
    return Measurement(**{**values, **spreads})
