"""How much of a description is about the task."""

import re
from collections.abc import Callable, Sequence

from promptscope.checks import checked

Score = Callable[[str], float]
"""A text -> a number; higher = more of what was looked for."""


@checked()
def class_rate(words: Sequence[str]) -> Score:
    """Return the score `|{class words that occur in the text}| / |class words|`, in [0, 1].

    Whole words, in any case. Reference: Ramati, Gottesman & Geva 2025 (InSPEcT).

    >>> class_rate(["positive", "negative"])("A Positive review")
    0.5
    """
    patterns = [re.compile(rf"(?<!\w){re.escape(word.strip())}(?!\w)", re.IGNORECASE) for word in words]
    return lambda text: sum(bool(pattern.search(text)) for pattern in patterns) / len(patterns)


@checked()
def word_f1(reference: str) -> Score:
    """Return the score F1 of a text's words with those of a *reference* description (ROUGE-1), in [0, 1].

    `F1 = 2 c / (n + m)` with n and m words and c of them in common, counted as often as both have them; lower-cased,
    without punctuation.

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
