"""These tests are of packed passes, which T5 has beside transformers from 5.15 on."""

import pytest

from tests.old_t5 import PACKED_T5, REASON


@pytest.fixture(autouse=True)
def packed_t5(request: pytest.FixtureRequest) -> None:
    """Skip a test's cases of T5 where it runs unpacked."""
    cases = getattr(request.node, "callspec", None)
    if not PACKED_T5 and cases is not None and "t5" in cases.params.values():
        pytest.skip(REASON)
