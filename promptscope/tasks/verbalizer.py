"""Verbalizers: the words that a model predicts for labels."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from promptscope.checks import checked
from promptscope.errors import TaskError, nearest
from promptscope.files import is_valid
from promptscope.tasks.records import composed, look
from promptscope.tasks.specials import Specials
from promptscope.tasks.template import Kind


class Verbalizer:
    """The word of each label, exactly as it is written in the text (spaces matter).

    Args:
        words: label -> word.
        first_piece: a masked language model needs words of one token; True uses the first token of longer words, as
            Reimann and Sadrieh 2024 (*Explainable Soft Prompts*) do.

    Raises:
        TaskError: there are no words, a word is empty, or two labels have the same word, or words that look the same.

    >>> Verbalizer({"0": "negative", "1": "positive"}).word("1")
    'positive'
    """

    @checked()
    def __init__(self, words: Mapping[Any, str], first_piece: bool = False) -> None:
        for label in words:
            if not isinstance(label, str | int | float) or (isinstance(label, float) and math.isnan(label)):
                raise TaskError(
                    f"A verbalizer's label must be a text or a number, got {label!r} ({type(label).__name__}): write "
                    "Verbalizer({'positive': 'good', ...})."
                )
        self.words = {composed(str(label)): word for label, word in words.items()}
        self.first_piece = first_piece
        if len(self.words) < len(words):
            raise TaskError(f"Two labels are the same text: {', '.join(map(repr, words))}. Give each its own.")
        if not self.words:
            raise TaskError("A verbalizer needs at least one label: Verbalizer({'positive': 'positive', ...}).")
        owners: dict[str, str] = {}
        for label, word in self.words.items():
            if not isinstance(word, str) or not word.strip():
                raise TaskError(f"The verbalizer's word for label {label!r} must be a word, got {word!r}.")
            if not is_valid(label + word):
                raise TaskError(
                    f"The word {word!r} of label {label!r} is not valid Unicode (a lone surrogate). Write it again."
                )
            if (other := owners.setdefault(look(word), label)) != label:
                how = "the same word" if self.words[other] == word else "words that look the same,"
                raise TaskError(f"Labels {other!r} and {label!r} have {how} {word!r}. Give each its own.")

    def __repr__(self) -> str:
        return f"Verbalizer({self.words!r}{', first_piece=True' if self.first_piece else ''})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Verbalizer) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((tuple(self.words.items()), self.first_piece))

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of their words."""
        return tuple(self.words)

    def word(self, label: str) -> str:
        """Return a label's word.

        Raises:
            TaskError: the label is unknown."""
        label = composed(label)
        if label not in self.words:
            raise TaskError(
                f"The verbalizer has no word for label {label!r}; its labels are {', '.join(map(repr, self.words))}."
                + nearest(label, self.words)
            )
        return self.words[label]

    def token_ids(self, tokenizer: Any, kind: Kind, before: str = "") -> dict[str, list[int]]:
        """Return the token ids of each label's word, tokenised separately from the source.

        `before` is the template's white space before the label (`Template.before_label`), which is tokenised with the
        word. For a masked model, each list has one id.

        Raises:
            TaskError: a word is not one token (masked), has characters that the tokenizer does not know, or has the
                same tokens as the word of another label.

        >>> import promptscope as ps
        >>> model = ps.load_model("embedded-causal")
        >>> sorted(Verbalizer({"pos": "good", "neg": "bad"}).token_ids(model.tokenizer, "causal", before=" "))
        ['neg', 'pos']
        """
        specials = Specials(tokenizer)
        self.check_space(before)
        found: dict[str, list[int]] = {}
        encodings = specials.read([before + word for word in self.words.values()])
        for (label, word), encoding in zip(self.words.items(), encodings, strict=True):
            ids = list(encoding.ids)
            if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
                raise TaskError(
                    f"The word {word!r} of label {label!r} holds characters that this tokenizer does not know "
                    f"(tokens {_pieces(tokenizer, ids)}). Choose another word, or a model for this language."
                )
            if kind == "masked":
                ids = ids[:1] if self.first_piece else self._one_token(tokenizer, label, word, ids)
            found[label] = ids
        _check_distinct(tokenizer, found)
        return found

    def check_space(self, before: str) -> None:
        """Raise TaskError if the template and a word both write a space between source and label."""
        spaced = [word for word in self.words.values() if word[:1].isspace()]
        if spaced and before:
            raise TaskError(
                f"The template writes {before!r} before the label, and the verbalizer's word {spaced[0]!r} also begins "
                "with a space. Remove one of them."
            )

    def _one_token(self, tokenizer: Any, label: str, word: str, ids: list[int]) -> list[int]:
        if len(ids) != 1:
            raise TaskError(
                f"A masked language model predicts one token, but the word {word!r} of label {label!r} is "
                f"{len(ids)} tokens: {_pieces(tokenizer, ids)}. Choose a word of one token, pass "
                "Verbalizer(..., first_piece=True) to use its first piece, or use a causal model."
            )
        return ids

    def to_json(self) -> dict[str, Any]:
        """Return the verbalizer as a dict that JSON can hold."""
        return {"words": dict(self.words), "first_piece": self.first_piece}


def as_verbalizer(verbalizer: Any, labels: Iterable[str]) -> Verbalizer | None:
    """Return a Verbalizer, given one, a dict, or "labels" (each label is its own word); None for None."""
    if verbalizer is None or isinstance(verbalizer, Verbalizer):
        return verbalizer
    if verbalizer == "labels":
        found = sorted(set(map(composed, labels)))
        _check_labels(found)
        return Verbalizer({label: label for label in found})
    if isinstance(verbalizer, Mapping):
        return Verbalizer(verbalizer)
    raise TaskError(
        "verbalizer must be a Verbalizer, a dict from labels to words, 'labels' (each label is its own word) or None, "
        f"got {verbalizer!r}."
    )


def _check_labels(labels: Iterable[str]) -> None:
    """Raise TaskError for two labels that are one in all likelihood: of a cell with a space more, or of 1 and 1.0."""
    owners: dict[str | float, str] = {}
    for label in labels:
        if (other := owners.setdefault(look(label), label)) != label:
            raise TaskError(
                f"The labels {other!r} and {label!r} differ in white space or invisible characters only, and would be "
                "two classes. Clean them, label.strip(), or give a verbalizer that names both."
            )
        try:
            number = float(label)
        except ValueError:
            continue
        if (other := owners.setdefault(number, label)) != label:
            raise TaskError(
                f"The labels {other!r} and {label!r} are the same number, and would be two classes: a column of whole "
                "numbers becomes one of fractions where a cell is empty. Write all in one way."
            )


def _check_distinct(tokenizer: Any, found: Mapping[str, list[int]]) -> None:
    owners: dict[tuple[int, ...], str] = {}
    for label, ids in found.items():
        owner = owners.setdefault(tuple(ids), label)
        if owner != label:
            raise TaskError(
                f"Labels {owner!r} and {label!r} have the same tokens {_pieces(tokenizer, ids)}, so that their scores "
                "would be equal. Choose words that differ in their first token."
            )


def _pieces(tokenizer: Any, ids: list[int]) -> list[str]:
    return list(tokenizer.convert_ids_to_tokens(ids))
