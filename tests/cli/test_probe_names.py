"""The help of `promptscope probe` names every probe."""

from promptscope.cli.probe import NAMES
from promptscope.probes import PROBES


def test_the_help_names_all_probes() -> None:
    assert tuple(PROBES) == NAMES
