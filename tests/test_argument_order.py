"""One order of arguments over the public API, and an error that names it."""

import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import promptscope as ps
from tests.training.toy import toy_model, toy_task

RANK = {"model": 0, "models": 0, "prompt": 1, "prompts": 1, "task": 2}


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """All public functions: those of the package and of the modules that it names."""
    homes = [ps, *(importlib.import_module(f"promptscope.{name}") for name in ps._MODULES)]
    for home in homes:
        for name in home.__all__:
            value = getattr(home, name)
            if inspect.isfunction(value):
                yield f"{home.__name__}.{name}", value


def test_model_comes_first_then_prompt_then_task() -> None:
    wrong = []
    for name, function in functions():
        every = inspect.signature(function).parameters
        required = [one.name for one in every.values() if one.default is one.empty]
        # A model that may be left out, since only some of the numbers need it, comes later.
        ranks = [RANK[one] for one in every if one in RANK and (one in required or RANK[one])]
        leading = [RANK.get(one, 3) for one in required]
        if ranks != sorted(ranks) or (leading and leading[0] == 0 and leading != sorted(leading)):
            wrong.append(name)
    # A baseline trains the model by a method, which takes the prompt's place.
    assert wrong == ["promptscope.train_baseline"]


@pytest.mark.parametrize("function", [ps.evaluate, ps.predict, ps.score_labels, ps.importance])
def test_swapped_arguments_are_told_their_order(function: Callable[..., Any]) -> None:
    with pytest.raises(ps.ArgumentError, match=r"prompt must be .* It fits task: the order is models?, prompt, task"):
        function(toy_model("gpt2"), toy_task(), ps.SoftPrompt(2))
