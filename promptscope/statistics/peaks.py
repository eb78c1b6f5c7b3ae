"""Local maxima and minima of a curve along the layers."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from promptscope.checks import checked
from promptscope.errors import ArgumentError


@checked()
def peaks_and_troughs(
    curve: Float[np.ndarray, "L"] | Sequence[float | int], tolerance: float = 0.0
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the local maxima and the local minima of a layer curve (L,), as layers counted from 0.

    A peak is higher than both its neighbours, a trough is lower; the first and the last layer are neither. Steps of at
    most *tolerance* times the curve's range count as flat. Of a flat maximum or minimum, the first and the last layer
    are returned, as one would read them from a figure. (The paper lists troughs at 18 and 20 but no peak at 19, which
    is only possible if the curve is flat there.)

    Raises:
        ArgumentError: fewer than three layers, a number that is not finite, or a tolerance outside [0, 1].

    Reference: *Toward the explainable soft prompts*, sections 4.3 and 5, Figure 5.

    >>> peaks_and_troughs([0.0, 3.0, 1.0, 2.0, 2.0, 0.5, 0.6])
    ((1, 3, 4), (2, 5))
    """
    values = np.asarray(curve, dtype=np.float64)
    if values.ndim != 1 or len(values) < 3 or not np.isfinite(values).all():
        raise ArgumentError(
            f"a layer curve needs at least three numbers, all finite, to have peaks or troughs, got {curve!r}"
        )
    if not 0.0 <= tolerance < 1.0:
        raise ArgumentError(f"tolerance is a share of the curve's range and must be in [0, 1], got {tolerance}")
    steps = np.diff(values)
    signs = np.where(np.abs(steps) <= tolerance * np.ptp(values), 0, np.sign(steps)).astype(int)
    found: dict[int, set[int]] = {1: set(), -1: set()}
    moves = np.flatnonzero(signs)  # a turn lies between two moves of opposite sign, with only flat steps in between
    for before, after in zip(moves[:-1].tolist(), moves[1:].tolist(), strict=True):
        if signs[before] != signs[after]:
            found[int(signs[before])] |= {before + 1, after}
    return tuple(sorted(found[1])), tuple(sorted(found[-1]))


@checked(first=0, last=0)
def peak_and_trough_groups(
    curve: Float[np.ndarray, "L"] | Sequence[float | int], first: int = 1, last: int = 4, tolerance: float = 0.0
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return two groups of layers for deep prompts: the peaks, and the troughs, each with the first and last layers.

    Both groups have the *first* lowest layers (near the input) and the *last* highest ones (specific to the task), as
    in the paper.

    Reference: *Toward the explainable soft prompts*, section 5.

    >>> peak_and_trough_groups([0.0, 3.0, 1.0, 2.0, 0.5, 0.6, 0.7], last=1)
    ((0, 1, 3, 6), (0, 2, 4, 6))
    """
    n = len(curve)
    always = {*range(min(first, n)), *range(max(n - last, 0), n)}
    peaks, troughs = peaks_and_troughs(curve, tolerance)
    return tuple(sorted({*peaks} | always)), tuple(sorted({*troughs} | always))
