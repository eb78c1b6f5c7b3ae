"""Labels of items as numbers."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from promptscope.errors import ArgumentError


def coded(labels: Iterable[Any], n: int, what: str = "labels") -> tuple[list[Any], Int[np.ndarray, "n"]]:
    """Return the distinct labels in order of appearance, and for each of *n* items the index of its label.

    Raises:
        ArgumentError: another number of labels than *n*; labels that are lists, or NaN; or labels of different types
            that are equal in Python (1 and True).

    >>> names, codes = coded(["b", "a", "b"], 3)
    >>> names, codes.tolist()
    (['b', 'a'], [0, 1, 0])
    """
    labels = list(labels)
    if len(labels) != n:
        raise ArgumentError(f"{what} must have one entry for each of {n} items, got {len(labels)}")
    try:
        kinds = {(type(label), label) for label in labels}
    except TypeError as error:
        raise ArgumentError(f"{what} must be texts, numbers or tuples: {error}") from error
    if any(label != label for label in labels):
        raise ArgumentError(f"{what} must not be NaN: leave out items without a label")
    index = {label: code for code, label in enumerate(dict.fromkeys(labels))}
    if len(index) < len(kinds):
        raise ArgumentError(
            f"{what} have values of several types that are equal in Python, such as 1 and True: use texts"
        )
    return list(index), np.array([index[label] for label in labels], dtype=np.int64)


def members(labels: Sequence[Any], n: int, what: str = "labels") -> dict[Any, list[int]]:
    """Return label -> indices of the items that have it, see `coded`."""
    names, codes = coded(labels, n, what)
    return {name: np.flatnonzero(codes == code).tolist() for code, name in enumerate(names)}
