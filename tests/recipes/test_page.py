"""How the page of the first recipe writes what was measured, and what was not."""

import math

import pytest

from recipes.attention_and_neurons.page import _with_interval

NAN = math.nan


@pytest.mark.parametrize(
    ("numbers", "text"),
    [((-0.0279, -0.0385, -0.0184), "-0.028 [-0.038, -0.018]"), ((0.4128, NAN, NAN), "0.41"), ((NAN, NAN, NAN), "")],
)
def test_a_number_has_its_interval_and_nothing_has_nothing(numbers: tuple[float, float, float], text: str) -> None:
    assert _with_interval(*numbers) == text
