"""Peaks and troughs: the paper's reading of its Figure 5, SciPy, and identities."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import argrelextrema

from promptscope.statistics import peak_and_trough_groups, peaks_and_troughs

# The paper's section 5, of the curve in its Figure 5, which is printed without numbers.
PEAKS = (1, 7, 9, 11, 13, 15, 17, 21)
TROUGHS = (2, 8, 10, 12, 14, 16, 18, 20, 22)
PEAK_GROUP = (0, 1, 7, 9, 11, 13, 15, 17, 20, 21, 22, 23)
TROUGH_GROUP = (0, 2, 8, 10, 12, 14, 16, 18, 20, 21, 22, 23)


def figure_5(bump: float = 0.0) -> np.ndarray:
    """A zigzag with the turns that the paper reads off: low at the ends, high in the middle, flat from 18 to 20."""
    curve = np.interp(np.arange(24), [0, 1, 2, 7, 13, 17, 18, 23], [0.5, 0.9, 0.2, 1.5, 2.2, 1.6, 0.6, 2.0])
    for layer in range(7, 18):
        curve[layer] += 0.4 if layer % 2 else -0.4
    curve[18:21] = 0.6
    curve[19] += bump
    curve[21], curve[22] = 1.2, 0.8
    return curve


def test_the_paper_s_own_reading():
    assert peaks_and_troughs(figure_5()) == (PEAKS, TROUGHS)
    assert peak_and_trough_groups(figure_5()) == (PEAK_GROUP, TROUGH_GROUP)
    assert len(PEAK_GROUP) == len(TROUGH_GROUP) == 12  # half of the layers each


def test_a_bump_too_small_to_see_is_flat():
    peaks, troughs = peaks_and_troughs(figure_5(bump=0.01))
    assert 19 in peaks and {18, 20} <= set(troughs)
    assert peaks_and_troughs(figure_5(bump=0.01), tolerance=0.02) == (PEAKS, TROUGHS)


def test_plateaus_and_slopes():
    assert peaks_and_troughs([0, 1, 1, 1, 0]) == ((1, 3), ())
    assert peaks_and_troughs([0, 1, 1, 2]) == ((), ())  # a step on the way up
    assert peaks_and_troughs([3, 2, 1]) == ((), ())
    assert peaks_and_troughs([1.0, 1.0, 1.0]) == ((), ())
    assert peaks_and_troughs([1, 1, 0, 0]) == ((), ())  # ends have one neighbour


def test_groups_hold_first_and_last_layers():
    assert peak_and_trough_groups([0, 2, 1, 3, 0, 0.5, 1], first=2, last=1) == ((0, 1, 3, 6), (0, 1, 2, 4, 6))
    assert peak_and_trough_groups([0, 2, 1], first=0, last=0) == ((1,), ())
    assert peak_and_trough_groups([0, 2, 1], first=9, last=9) == ((0, 1, 2), (0, 1, 2))


@pytest.mark.parametrize(
    ("curve", "match"),
    [([1.0, 2.0], "at least three numbers, all finite"), ([1.0, float("nan"), 2.0], "NaN or infinity")],
)
def test_what_is_no_curve(curve, match):
    with pytest.raises(ValueError, match=match):
        peaks_and_troughs(curve)
    with pytest.raises(ValueError, match="tolerance"):
        peaks_and_troughs([1.0, 2.0, 1.0], tolerance=1.5)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 40))
def test_turns_are_scipy_s_and_alternate(seed, n):
    curve = np.random.default_rng(seed).normal(size=n)  # no two are the same
    peaks, troughs = peaks_and_troughs(curve)
    assert peaks == tuple(argrelextrema(curve, np.greater)[0])
    assert troughs == tuple(argrelextrema(curve, np.less)[0])
    assert peaks_and_troughs(-curve) == (troughs, peaks)
    assert peaks_and_troughs(3 * curve + 1) == (peaks, troughs)
    turns = sorted([*peaks, *troughs])
    assert all((a in peaks) != (b in peaks) for a, b in pairwise(turns))
    last = n - 1
    assert peaks_and_troughs(curve[::-1])[0] == tuple(sorted(last - p for p in peaks))
