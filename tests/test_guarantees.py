"""docs/guarantees.md names a test for each promise: each must exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
PROMISES = [row for row in re.findall(r"^\| (.+) \|$", PAGE, flags=re.MULTILINE) if "tested by" not in row]
TESTS = sorted(set(re.findall(r"`(tests/[^`]+)`", PAGE)))


def test_every_promise_names_a_test() -> None:
    assert len(PROMISES) > 15
    assert all("`tests/" in row for row in PROMISES)


@pytest.mark.parametrize("name", TESTS)
def test_the_test_exists(name: str) -> None:
    file, _, function = name.partition("::")
    text = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"^def {function or 'test_'}", text, flags=re.MULTILINE)
