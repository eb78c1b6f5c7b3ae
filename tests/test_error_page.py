"""docs/errors.md quotes messages: each must still be one of ours."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Messages are written over several lines of code, with values in braces in between.
SOURCE = re.sub(
    r'"\s*\n?\s*f?"', "", "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "promptscope").rglob("*.py"))
)
QUOTES = re.findall(r"^\| `(.+?)` \|", (ROOT / "docs" / "errors.md").read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_the_page_has_a_table() -> None:
    assert len(QUOTES) > 20


@pytest.mark.parametrize("quote", QUOTES)
def test_every_quoted_message_exists(quote: str) -> None:
    assert quote in SOURCE
