"""A case that is ready to run: variants of one piece of work, how far they must agree, and how much work it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.equality import Outcome
from benchmarks.flops import Work
from benchmarks.models import Models

Run = Callable[[], Outcome]


@dataclass(frozen=True)
class Variant:
    """One way of doing the work.

    `against` names the variant that it is compared with, in time and in outcome; the baseline has none. `grows_from`
    names the same variant on less work. `counted`: whether its operations are counted, which compiled code prevents.
    """

    name: str
    run: Run
    work: Work
    against: str | None = None
    grows_from: str | None = None
    counted: bool = True


@dataclass(frozen=True)
class Workload:
    """The variants of a case. `truths` replace the outcome of a baseline that is known to be wrong."""

    variants: tuple[Variant, ...]
    limits: Mapping[str, float]
    truths: Mapping[str, Outcome] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)


def beside(
    baseline: str, run: Run, others: Mapping[str, Run], work: Work, suffix: str = "", first: str | None = None
) -> tuple[Variant, ...]:
    """Return a baseline and what is compared with it.

    *suffix* distinguishes the sizes of one case, *first* is the suffix of its smallest size (None for that size).
    """
    return tuple(
        Variant(
            name + suffix,
            one,
            work,
            against=None if name == baseline else baseline + suffix,
            grows_from=None if first is None else name + first,
        )
        for name, one in {baseline: run, **others}.items()
    )


class Case(Protocol):
    """An entry of the list in cases.py: a frozen dataclass whose fields describe it completely."""

    @property
    def model(self) -> str:
        """Name in `models.MODELS`."""

    @property
    def name(self) -> str:
        """Unique name; `--cases` accepts any part of it."""

    def workload(self, models: Models) -> Workload:
        """Load and prepare everything that is not timed."""
