"""Rules for the values of settings, given in a recipe's dataclass and checked before anything is loaded.

A dataclass of settings may have, as class variables:

- `POSITIVE`: names of numbers above 0 (all others are at least 0);
- `AT_LEAST`: name -> the smallest whole number;
- `SHARES`: names of numbers between 0 and 1, both excluded;
- `NEEDED`: names of lists with at least one entry;
- `WORDS`: name -> the words allowed as its value, or as entries of its list;
- `PAIRS`: names of lists whose entries are two words each.
"""

import math
from typing import Any

from promptscope.errors import nearest

MATMULS = ("float32", "bf16")
"""How frozen layers may multiply: what `ps.execution` takes."""


def check_value(item: str, name: str, value: Any, settings: Any) -> None:
    """Refuse *value* for the setting *name*; *item* is what the user wrote.

    Raises:
        SystemExit: with what was expected.
    """
    present = getattr(settings, name)
    entries = value if isinstance(value, tuple) else (value,)
    if name in _of(settings, "NEEDED") and not entries:
        raise SystemExit(f"--set {item}: expected a list with at least one entry")
    if isinstance(value, tuple):
        _check_kinds(item, value, present, name in _of(settings, "PAIRS"))
    numbers = [x for x in entries if isinstance(x, int | float) and not isinstance(x, bool)]
    least, positive = _of(settings, "AT_LEAST").get(name, 0), name in _of(settings, "POSITIVE")
    if any(not math.isfinite(x) or x < least or (positive and x == 0) for x in numbers):
        raise SystemExit(f"--set {item}: expected numbers {'above' if positive else 'of at least'} {least}")
    if name in _of(settings, "SHARES") and any(not 0 < x < 1 for x in numbers):
        raise SystemExit(f"--set {item}: expected a share above 0 and below 1")
    words = _of(settings, "WORDS").get(name)
    for word in entries if words else ():
        if word not in words:
            known = ", ".join(map(repr, words))
            raise SystemExit(f"--set {item}: expected one of {known}, got {word!r}.{nearest(str(word), words)}")


def _of(settings: Any, rule: str) -> Any:
    return getattr(settings, rule, {})


def _check_kinds(item: str, value: tuple[Any, ...], present: tuple[Any, ...] | None, pairs: bool) -> None:
    if pairs:
        if any(not isinstance(x, tuple) or len(x) != 2 or not all(isinstance(word, str) for word in x) for x in value):
            raise SystemExit(f'--set {item}: expected a list of pairs of words, such as [["a", "b"]]')
        return
    present = present or ()
    kinds = {type(entry) for entry in present}
    if float in kinds:
        kinds.add(int)
    for entry in value:
        if kinds and type(entry) not in kinds:
            raise SystemExit(f"--set {item}: expected a list of entries like {present[0]!r}, got {entry!r}")


def as_floats(value: tuple[Any, ...], present: Any) -> tuple[Any, ...]:
    """Return integers as floats where the preset has floats, so that 1 and 1.0 are the same setting."""
    if isinstance(present, tuple) and any(type(entry) is float for entry in present):
        return tuple(float(entry) if type(entry) is int else entry for entry in value)
    return value
