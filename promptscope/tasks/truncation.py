"""Truncation of records: only the text of fields is cut, the longest field first."""

import math
from collections.abc import Mapping, Sequence

from promptscope.errors import TaskError
from promptscope.tasks.specials import Specials
from promptscope.tasks.template import Part
from promptscope.tasks.tokens import Tokens, tokenise


def fit(
    parts: Sequence[Part],
    values: Sequence[Mapping[str, str]],
    specials: Specials,
    overrides: Mapping[str, str],
    room: Sequence[int | None],
    ids: Sequence[str],
) -> tuple[list[Tokens], list[bool]]:
    """Tokenise records with at most `room` tokens each; return the tokens, and which records were cut.

    Text is cut at a token boundary and tokenised again, so that literals and special tokens are not cut, and the tokens
    are those of the shorter text.

    Raises:
        TaskError: a record is too long even with empty fields.
    """
    rows = tokenise(parts, values, specials, overrides)
    values = list(values)
    shortened = [False] * len(rows)
    while over := [i for i, row in enumerate(rows) if room[i] is not None and len(row) > (room[i] or 0)]:
        for i in over:
            limit = room[i] or 0
            values[i] = _shorten(parts, values[i], rows[i], len(rows[i]) - limit, ids[i], limit)
            shortened[i] = True
        for i, row in zip(over, tokenise(parts, [values[i] for i in over], specials, overrides), strict=True):
            rows[i] = row
    return rows, shortened


def _shorten(
    parts: Sequence[Part], value: Mapping[str, str], row: Tokens, excess: int, id: str, limit: int
) -> dict[str, str]:
    times = {
        part.text: sum(other == part for other in parts)
        for part in parts
        if part.kind == "field" and part.text in row.segments
    }
    if not times:
        raise TaskError(
            f"Record {id!r} does not fit: even without text, the template's words and special tokens are {len(row)} "
            f"tokens, and max_length leaves {max(limit, 0)} for them and the label. Use a larger max_length, or a "
            "shorter template, label or prompt."
        )
    left = {name: row.segments.count(name) for name in times}
    counts = dict(left)
    for _ in range(excess):
        longest = max(left, key=lambda name: left[name])
        left[longest] = max(0, left[longest] - 1)
    new = dict(value)
    for name, kept in left.items():
        if kept < counts[name]:
            # a field that occurs several times loses its share at each place
            new[name] = _cut(value[name], row, name, math.ceil((counts[name] - kept) / times[name]))
    return new


def _cut(text: str, row: Tokens, name: str, removed: int) -> str:
    characters = [where for where, segment in zip(row.characters, row.segments, strict=True) if segment == name]
    kept = len(characters) - removed
    if kept <= 0:
        return ""
    # at the start of the first token to go: a character that several tokens spell goes whole
    return text[: min(characters[kept][0], len(text) - 1)]
