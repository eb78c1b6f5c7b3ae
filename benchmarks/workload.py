"""A case made ready: variants of one piece of work, what they must agree on, and how much work it is."""

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
    names the same variant on less work. Operations of compiled code cannot be `counted`.
    """

    name: str
    run: Run
    work: Work
    against: str | None = None
    grows_from: str | None = None
    counted: bool = True


@dataclass(frozen=True)
class Workload:
    """The variants of a case. `truths` replaces a baseline's outcome where that is known to be wrong."""

    variants: tuple[Variant, ...]
    limits: Mapping[str, float]
    truths: Mapping[str, Outcome] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)


def beside(
    baseline: str, run: Run, others: Mapping[str, Run], work: Work, suffix: str = "", first: str | None = None
) -> tuple[Variant, ...]:
    """Return a baseline and what is compared with it.

    *suffix* tells sizes of one case apart, *first* is the suffix of the smallest where there is a smaller one.
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
    """A line of the list in cases.py: a frozen dataclass whose fields say all there is to know."""

    @property
    def model(self) -> str:
        """Name in `models.MODELS`."""

    @property
    def name(self) -> str:
        """Unique; `--cases` takes any part of it."""

    def workload(self, models: Models) -> Workload:
        """Load and prepare everything that is not timed."""
