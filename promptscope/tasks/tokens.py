"""Tokenisation of the source or target of a template: token ids, and the part of the template of each token."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from promptscope.tasks.specials import Specials
from promptscope.tasks.template import Part


@dataclass(frozen=True)
class Span:
    """The characters [start, end) of a part of the template in the text that is tokenised."""

    part: Part
    start: int
    end: int
    type: int = 0


@dataclass
class Tokens:
    """The tokens of one record.

    `characters` is the range of characters of its field that each token covers. `types` are BERT's token types: 0 up to
    and with the `{sep}` between two texts, 1 after it.
    """

    ids: list[int] = field(default_factory=list)
    segments: list[str] = field(default_factory=list)
    special: list[bool] = field(default_factory=list)
    characters: list[tuple[int, int]] = field(default_factory=list)
    types: list[int] = field(default_factory=list)

    def add(self, id: int, segment: str, special: bool, characters: tuple[int, int] = (0, 0), type: int = 0) -> None:
        self.ids.append(id)
        self.segments.append(segment)
        self.special.append(special)
        self.characters.append(characters)
        self.types.append(type)

    def __len__(self) -> int:
        return len(self.ids)


def tokenise(
    parts: Sequence[Part],
    values: Sequence[Mapping[str, str]],
    specials: Specials,
    overrides: Mapping[str, str],
) -> list[Tokens]:
    """Tokenise the source or target of a template for many records; `values` maps fields (and "label") to text.

    The text between two special tokens is joined and tokenised as one, so that `Input: {text}` gives the same tokens as
    the whole text; offsets tell to which part each token belongs.
    """
    rows = [Tokens() for _ in values]
    after_label = False
    types = [int(i > _between_texts(parts)) for i in range(len(parts))]
    for is_special, group in groupby(zip(parts, types, strict=True), key=lambda each: each[0].kind == "special"):
        stretch = list(group)
        if is_special:
            ids = [(id, type) for part, type in stretch for id in specials.ids(part.text, overrides)]
            for row in rows:
                for id, type in ids:
                    row.add(id, "end" if after_label else "special", special=True, type=type)
            continue
        after_label = any(part.kind == "label" for part, _ in stretch)
        joined = [_join(stretch, value) for value in values]
        encodings = specials.read([text for text, _ in joined])
        for row, (text, spans), encoding in zip(rows, joined, encodings, strict=True):
            for id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
                span = _owner(text, spans, start, end)
                inside = (max(start, span.start) - span.start, min(end, span.end) - span.start)
                row.add(id, _segment(span.part), special=False, characters=inside, type=span.type)
    return rows


def _between_texts(parts: Sequence[Part]) -> int:
    """Return the index of the first `{sep}` with fields before and after it, or the last index if there is none."""
    fields = [i for i, part in enumerate(parts) if part.kind == "field"]
    ends = (i for i, part in enumerate(parts) if part == Part("special", "sep") and fields[:1] < [i] < fields[-1:])
    return next(ends, len(parts) - 1)


def _join(stretch: Sequence[tuple[Part, int]], value: Mapping[str, str]) -> tuple[str, list[Span]]:
    text, spans = "", []
    for part, type in stretch:
        piece = part.text if part.kind == "literal" else value[part.text]
        spans.append(Span(part, len(text), len(text) + len(piece), type))
        text += piece
    return text, spans


def _segment(part: Part) -> str:
    return part.text if part.kind in ("field", "label") else "literal"


def _owner(text: str, spans: Sequence[Span], start: int, end: int) -> Span:
    """Return the span to which a token belongs, the one with most of the token's visible characters.

    A token may overlap two parts: " good" of "Input: {text}" begins with a space of the literal, and belongs to the
    field. A token of spaces belongs to the part with more of them; if both have equally many, to the field.
    """
    if len(spans) == 1:
        return spans[0]
    end = max(end, start + 1)  # some tokens (an inserted "▁") cover no character
    best, best_rank = spans[-1], (-1, -1, -1)
    for span in spans:
        covered = text[max(start, span.start) : min(end, span.end)] if span.start < end else ""
        if covered:
            rank = (len("".join(covered.split())), len(covered), int(span.part.kind == "field"))
            if rank > best_rank:
                best, best_rank = span, rank
    return best
