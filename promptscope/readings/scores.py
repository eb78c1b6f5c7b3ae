"""Scores of how much a description says about the task."""

import re
from collections.abc import Callable, Sequence

from promptscope.checks import checked

Score = Callable[[str], float]
"""A function from a text to a number; higher = more of what is scored."""


@checked()
def class_rate(words: Sequence[str]) -> Score:
    """Return a score of a text: the share of class words that occur in it, in [0, 1]; higher = more of them.

    `|{class words in the text}| / |class words|`; whole words, upper and lower case are the same.

    Reference: Ramati, Gottesman & Geva 2025 (InSPEcT).

    >>> class_rate(["positive", "negative"])("A Positive review")
    0.5
    """
    patterns = [re.compile(rf"(?<!\w){re.escape(word.strip())}(?!\w)", re.IGNORECASE) for word in words]
    return lambda text: sum(bool(pattern.search(text)) for pattern in patterns) / len(patterns)


@checked()
def word_f1(reference: str) -> Score:
    """Return a score of a text: F1 of its words with those of a *reference* description (ROUGE-1), in [0, 1].

    `F1 = 2 c / (n + m)` for texts of n and m words with c in common (a word that occurs twice in both counts twice); in
    lower case and without punctuation. Higher = more words in common.

    >>> word_f1("capital of a country")("The capital: a city")
    0.5
    """
    wanted = _words(reference)

    def score(text: str) -> float:
        found = _words(text)
        common = sum(min(found.count(word), wanted.count(word)) for word in set(wanted))
        return 2 * common / (len(found) + len(wanted)) if found or wanted else 0.0

    return score


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
