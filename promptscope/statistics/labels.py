"""Labels of things, as numbers."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from promptscope.errors import ArgumentError


def coded(labels: Iterable[Any], n: int, what: str = "labels") -> tuple[list[Any], Int[np.ndarray, "n"]]:
    """Return the distinct labels in order of appearance, and which of them each of *n* things has.

    Raises:
        ValueError: another number of labels, one that equals nothing (NaN), not even itself, or is a list, or two that
            Python takes for one (1 and True).

    >>> names, codes = coded(["b", "a", "b"], 3)
    >>> names, codes.tolist()
    (['b', 'a'], [0, 1, 0])
    """
    labels = list(labels)
    if len(labels) != n:
        raise ArgumentError(f"{what} must name each of {n} things, got {len(labels)}")
    try:
        kinds = {(type(label), label) for label in labels}
    except TypeError as error:
        raise ArgumentError(f"{what} must be texts, numbers or tuples: {error}") from error
    if any(label != label for label in labels):
        raise ArgumentError(f"{what} hold NaN, which is the label of no group: leave such things out first")
    index = {label: code for code, label in enumerate(dict.fromkeys(labels))}
    if len(index) < len(kinds):
        raise ArgumentError(f"{what} hold values of several types that are equal, such as 1 and True: use texts")
    return list(index), np.array([index[label] for label in labels], dtype=np.int64)


def members(labels: Sequence[Any], n: int, what: str = "labels") -> dict[Any, list[int]]:
    """Return label -> the things that have it, see `coded`."""
    names, codes = coded(labels, n, what)
    return {name: np.flatnonzero(codes == code).tolist() for code, name in enumerate(names)}
