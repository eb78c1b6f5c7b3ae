"""Nothing that a user can hand to a public function ends in an exception that is not ours."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

# (call, argument): a value that looks wrong and has a meaning, or an error of Python that names it.
MEANT = {
    ("statistics.p_value_of_draws", "observed"): "of a NaN the p-value is NaN",
    ("probes.Saved", "no_such_argument"): "a base class without arguments: Python's own TypeError names it",
    ("probes.ResidualPCA", "at"): "a position from the end; whether there is one is seen on the inputs",
}


@pytest.mark.slow
def test_every_bad_argument_of_every_public_call_is_refused() -> None:
    """Each public function and class, each argument, several values of a wrong kind, and rows that cannot be meant."""
    done = subprocess.run(  # in a process of its own: in this one jaxtyping checks types before we do
        [sys.executable, "-m", "tests.fuzz.run"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = json.loads(done.stdout)
    assert len(outcomes) > 5000
    failed = [
        (call, argument, value, came)
        for call, argument, value, came in outcomes
        if came != "refused" and (call, argument) not in MEANT
    ]
    assert not failed, "\n".join(map(str, failed))
