"""What a function computes decides its identity: every way in which code can change is noticed."""

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from promptscope.code_identity import UnknownIdentityError, code_identity

SCALE = 2.0


def helper(x: float) -> float:
    return x + 1


def uses_global(x: float) -> float:
    return x * SCALE


def uses_helper(x: float) -> float:
    return helper(x)


def make(n: Any) -> Callable[[float], float]:
    def inner(x: float) -> float:
        return x * n

    return inner


class Base:
    factor = 1

    def run(self, x: float) -> float:
        return self.factor * x


class Child(Base):
    weights: ClassVar[list[int]] = [1, 2]

    @staticmethod
    def static(x: float) -> float:
        return x + 2

    @classmethod
    def made(cls) -> "Child":
        return cls()

    @property
    def size(self) -> int:
        return 3

    @functools.cached_property
    def cached(self) -> int:
        return 4


def test_a_global_value(monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_identity(uses_global)
    assert before == code_identity(uses_global)
    monkeypatch.setitem(uses_global.__globals__, "SCALE", 3.0)
    assert code_identity(uses_global) != before


def test_a_function_that_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_identity(uses_helper)
    monkeypatch.setitem(uses_helper.__globals__, "helper", lambda x: x + 2)
    assert code_identity(uses_helper) != before


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        ([1, 2], [2, 1]),
        (torch.tensor([1.0, -1.0]), torch.tensor([-1.0, 1.0])),
        (np.array([1, 2]), np.array([1, 3])),
        (np.array([1, 2], dtype=np.int32), np.array([1, 2], dtype=np.int64)),
        ({"a": 1}, {"a": 2}),
        ({1, 2}, {1, 3}),
        (helper, uses_helper),
        (functools.partial(helper, 1), functools.partial(helper, 2)),
        (torch.float32, torch.float64),
        (Base().run, Child().run),
    ],
)
def test_a_value_of_an_enclosing_function(one: Any, other: Any) -> None:
    assert code_identity(make(one)) == code_identity(make(one))
    assert code_identity(make(one)) != code_identity(make(other))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weights", [1, 3]),
        ("static", staticmethod(lambda x: x + 3)),
        ("made", classmethod(lambda cls: None)),
        ("size", property(lambda self: 4)),
        ("new", 1),
    ],
)
def test_whatever_a_class_holds(monkeypatch: pytest.MonkeyPatch, name: str, value: Any) -> None:
    before = code_identity(Child)
    monkeypatch.setattr(Child, name, value, raising=False)
    assert code_identity(Child) != before


def test_a_base_class(monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_identity(Child)
    monkeypatch.setattr(Base, "factor", 2)
    assert code_identity(Child) != before


def test_defaults() -> None:
    assert code_identity(lambda x, n=1: x) != code_identity(lambda x, n=2: x)
    assert code_identity(lambda x, *, n=1: x) != code_identity(lambda x, *, n=2: x)


def test_the_same_text_elsewhere_is_the_same() -> None:
    spaces: list[dict[str, Any]] = [{"__name__": "one"}, {"__name__": "two"}]
    exec("def f(x):\n    return x * 2", spaces[0])
    exec("\n\n# moved\ndef f(x):\n    return x * 2", spaces[1])
    assert code_identity(spaces[0]["f"]) == code_identity(spaces[1]["f"])


def test_recursion_ends() -> None:
    def count(n: int) -> int:
        return count(n - 1) if n else 0

    assert code_identity(count) == code_identity(count)


def test_what_has_no_content_is_refused(tmp_path: Any) -> None:
    with open(tmp_path / "file", "w") as file, pytest.raises(UnknownIdentityError, match="no content"):
        code_identity(make(file))
    with pytest.raises(UnknownIdentityError, match="Linear"):
        code_identity(make(torch.nn.Linear(1, 1)))
