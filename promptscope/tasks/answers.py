"""Comparison of answers as in question-answering benchmarks: by words (SQuAD) or characters (KorQuAD)."""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
# KorQuAD turns quotes and brackets into spaces, so that they separate; all other punctuation just goes
_KORQUAD_MARKS = str.maketrans(dict.fromkeys("'\"《》<>〈〉()‘’", " "))


def squad_normalise(text: str) -> str:
    """Return text in lower case without ASCII punctuation, English articles and extra spaces (SQuAD 2.0's script).

    >>> squad_normalise("The  cat's 'hat'.")
    'cats hat'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def korquad_normalise(text: str) -> str:
    """Return text in lower case without quotes, brackets and ASCII punctuation (KorQuAD 1.0's script).

    >>> korquad_normalise("《임을 위한 행진곡》(노래).")
    '임을 위한 행진곡 노래'
    """
    return " ".join(text.translate(_KORQUAD_MARKS).lower().translate(_PUNCTUATION).split())


def squad_f1(prediction: str, answer: str) -> float:
    """Return the F1 of two answers' bags of words, in [0, 1], after `squad_normalise` (SQuAD 2.0's official script).

    If one answer is empty, it is 1 if both are, and 0 otherwise.
    """
    predicted, gold = squad_normalise(prediction).split(), squad_normalise(answer).split()
    if not predicted or not gold:
        return float(predicted == gold)
    return _bag_f1(predicted, gold)


def mrqa_f1(prediction: str, answer: str) -> float:
    """Return the F1 of two answers' bags of words, in [0, 1], after `squad_normalise` (MRQA 2019's official script).

    It is 0 if no word is shared, also for two empty answers: every question of MRQA has an answer.
    """
    return _bag_f1(squad_normalise(prediction).split(), squad_normalise(answer).split())


def korquad_f1(prediction: str, answer: str) -> float:
    """Return the F1 of two answers' bags of characters without spaces, in [0, 1] (KorQuAD 1.0's official script)."""
    predicted, gold = (korquad_normalise(text).replace(" ", "") for text in (prediction, answer))
    return _bag_f1(predicted, gold)


def best(score: Callable[[str, str], float], prediction: str, answers: Sequence[str]) -> float:
    """Return the highest score of a prediction over all accepted answers."""
    return max(float(score(prediction, answer)) for answer in answers)


def _bag_f1(predicted: Sequence[str], gold: Sequence[str]) -> float:
    shared = sum((Counter(predicted) & Counter(gold)).values())
    # the harmonic mean of shared/len(predicted) and shared/len(gold)
    return 2 * shared / (len(predicted) + len(gold)) if shared else 0.0
