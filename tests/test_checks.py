"""Arguments are what the signature says, or the call is refused by name."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest
import torch
from jaxtyping import Float

import promptscope as ps
from promptscope import statistics
from promptscope.checks import checked


@checked(times=1)
def example(
    words: Sequence[str],
    times: int = 1,
    share: float = 0.5,
    side: Literal["left", "right"] = "left",
    loud: bool = False,
    layers: Sequence[int] | None = None,
    table: Float[torch.Tensor, "n d"] | None = None,
    names: dict[str, str] | None = None,
) -> int:
    return len(words)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"words": "Paris"},
            r"words must be a sequence of \(a text\), got 'Paris' \(str\). Put a single text in a list",
        ),
        ({"words": b"Paris"}, "words must be"),
        ({"words": [b"good"]}, "words must be"),
        ({"words": {"a": 1}}, "words must be"),
        ({"words": ["a"], "times": 2.0}, r"times must be a whole number \(int\), got 2.0 \(float\)"),
        ({"words": ["a"], "times": True}, "times must be a whole number"),
        ({"words": ["a"], "times": 0}, "times must be at least 1, got 0"),
        ({"words": ["a"], "share": float("nan")}, "share must not be or hold NaN"),
        ({"words": ["a"], "share": "0.5"}, r"share must be a number, got '0.5' \(str\)"),
        ({"words": ["a"], "side": "Right"}, r"one of 'left', 'right', got 'Right' \(str\). Did you mean 'right'?"),
        ({"words": ["a"], "side": None}, "side must be one of 'left', 'right', got None"),
        ({"words": ["a"], "loud": 1}, "loud must be True or False, got 1"),
        ({"words": ["a"], "layers": [0.5]}, "layers must be a sequence of .* or None"),
        ({"words": ["a"], "table": torch.ones(3)}, r"table must be a torch array \(float\) of shape \(n d\)"),
        ({"words": ["a"], "names": {"a": 1}}, "names must be"),
        ({"words": ["a"], "time": 1}, "unexpected keyword argument 'time'. Its arguments are words, times"),
        ({}, "missing a required argument: 'words'"),
    ],
)
def test_what_is_not_meant_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ps.ArgumentError, match=f"example: .*{message}"):
        example(**arguments)


def test_what_is_meant_passes() -> None:
    assert example(["a"], np.int64(2), 1, "right", True, (0, 1), torch.ones(2, 3), {"a": "b"}) == 1
    assert example(("a", "b"), layers=None) == 2


FIVE, SIX = np.arange(5.0), np.arange(6.0)
HOLE = np.array([1.0, np.nan, 3.0, 4.0, 5.0])
LINE = np.abs(np.subtract.outer(FIVE, FIVE))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.paired_permutation_test(HOLE, FIVE), "a must not be or hold NaN"),
        (lambda: statistics.paired_permutation_test(FIVE, SIX), "b must be .*equal lengths"),
        (lambda: statistics.paired_permutation_test(FIVE, FIVE, n_permutations=0), "n_permutations must be at least 1"),
        (
            lambda: statistics.silhouette_test(np.where(LINE == 4, np.nan, LINE), list("aabbb")),
            "distances must not be",
        ),
        (lambda: statistics.silhouette(LINE, "aabbb"), "labels must be"),
        (lambda: statistics.mcnemar_test(np.array([True]), np.array([True, False])), "after must be"),
        (lambda: statistics.agreement_null(np.array([[0, 1]]), np.array([[0, 1], [1, 0]])), "vote must be"),
        (lambda: statistics.alignment_test(np.array([[0, 1]]), np.array([[0]]), 2), "vote must be"),
        (
            lambda: statistics.nearest_vectors(np.ones((3, 2)), np.ones((4, 2)), exclude=np.array([1])),
            "exclude must be",
        ),
        (lambda: statistics.prompt_similarities(np.ones((1, 3)), np.ones((4, 3))), "q must be"),
        (
            lambda: statistics.effective_rank(np.ones((2, 3, 4))),
            r"x must be .*\(N d\), .* got float64 of shape \(2, 3, 4\)",
        ),
        (lambda: statistics.mean_interval(FIVE, level=95.0), "level must lie between 0 and 1, got 95"),
        (lambda: statistics.mean_interval(["1", "2"]), r"values must be .* Make it with np.array"),
        (lambda: statistics.mean_interval([[1.0], [2.0, 3.0]]), r"values must be .* Make it with np.array"),
        (lambda: statistics.mean_interval(np.array([1, 2])), r"values must be .*got int64 of shape \(2,\)"),
        (lambda: statistics.hypergeometric_overlap(10, 3, 3, 4), "sets of 3 and 3 of 10 items with 4 in common"),
        (lambda: statistics.effect_share(np.ones((5, 2)), SIX), "differences must be"),
    ],
)
def test_no_array_is_broadcast_and_no_hole_becomes_a_number(call: Any, message: str) -> None:
    with pytest.raises(ps.ArgumentError, match=message):
        call()


def test_a_task_in_the_place_of_the_prompt_is_answered_with_the_order() -> None:
    task = ps.Task.from_records([{"text": "a", "label": "x"}, {"text": "b", "label": "y"}])
    hint = r"The task comes after the prompt; without a prompt: evaluate\(model, None, task\)\.$"
    with pytest.raises(ps.ArgumentError, match=hint):
        ps.evaluate(None, task)  # type: ignore[call-arg, arg-type]
    with pytest.raises(ps.ArgumentError, match=hint):
        ps.evaluate(None, task, prompt=None)  # type: ignore[call-arg, arg-type, misc]
