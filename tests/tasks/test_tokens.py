"""Which part of a template a token belongs to, where it straddles two."""

import pytest

from promptscope.tasks.template import Part
from promptscope.tasks.tokens import Span, _owner

LITERAL, FIELD = Part("literal", "x"), Part("field", "text")


@pytest.mark.parametrize(
    ("text", "boundary", "parts", "token", "owner"),
    [
        ("In: good", 4, (LITERAL, FIELD), (3, 8), FIELD),  # " good": the space is the literal's, the word the text's
        ("good.\nLabel", 5, (FIELD, LITERAL), (4, 6), FIELD),  # ".\n": what can be seen is the text's
        ("a \n\nb", 2, (FIELD, LITERAL), (1, 4), LITERAL),  # " \n\n": only spaces, most of them the literal's
        ("a \nb", 2, (FIELD, LITERAL), (1, 3), FIELD),  # " \n": one each, the text wins
        ("a\n b", 2, (LITERAL, FIELD), (1, 3), FIELD),
        ("(good)", 5, (FIELD, LITERAL), (4, 6), FIELD),  # "d)": one visible character each
        ("(good))", 5, (FIELD, LITERAL), (4, 7), LITERAL),  # "d))"
        ("good", 4, (FIELD, LITERAL), (4, 4), LITERAL),  # a token that covers no character
    ],
)
def test_owner(text: str, boundary: int, parts: tuple[Part, Part], token: tuple[int, int], owner: Part) -> None:
    spans = [Span(parts[0], 0, boundary), Span(parts[1], boundary, len(text))]
    assert _owner(text, spans, *token).part is owner
