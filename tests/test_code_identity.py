"""What a function computes decides its identity: every way in which code can change is noticed."""

import dataclasses
import functools
import random
import re
import sys
from collections import deque
from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

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


class Words(dict[str, int]):
    """A container with an attribute and code of its own."""

    extra = 0

    def __call__(self, x: float) -> float:
        return x


class LoudWords(Words):
    def __call__(self, x: float) -> float:
        return -x


class Slotted:
    __slots__ = ("n",)

    def __init__(self, n: int) -> None:
        self.n = n


def with_extra(thing: Any, extra: int) -> Any:
    thing.extra = extra
    return thing


def decorated(n: int) -> Callable[[float], float]:
    @functools.wraps(helper)
    def wrapper(x: float) -> float:
        return n * helper(x)

    return wrapper


def settings_of(n: int) -> type:
    @dataclasses.dataclass
    class Settings:
        size: int = dataclasses.field(default_factory=lambda: n)

    return Settings


def metaclass_of(n: int) -> type:
    return type("Meta", (type,), {"__call__": lambda cls: n})("Made", (), {})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (decorated(1), decorated(2)),  # a decorator's settings
        (with_extra(make(0), 1), with_extra(make(0), 2)),  # a function's attribute
        (Words(a=1), LoudWords(a=1)),
        (with_extra(Words(), 1), with_extra(Words(), 2)),
        (deque([1]), deque([2])),
        (type("Queue", (deque,), {})([1]), type("Queue", (deque,), {})([2])),
        (random.Random(1), random.Random(2)),
        (Slotted(1), Slotted(2)),
        (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[1, 0])),
        (re.compile("a"), re.compile("b")),
        (settings_of(1), settings_of(2)),
        (metaclass_of(1), metaclass_of(2)),
        # objects and functions that an installed package made for the user
        (StandardScaler().fit([[1.0], [2.0]]).transform, StandardScaler().fit([[1.0], [9.0]]).transform),
        (np.vectorize(lambda x: x), np.vectorize(lambda x: 2 * x)),
        (torch.no_grad()(lambda x: x), torch.no_grad()(lambda x: 2 * x)),
        (torch.ones(2).mul, torch.zeros(2).mul),
    ],
)
def test_whatever_objects_and_wrappers_hold(one: Any, other: Any) -> None:
    assert code_identity(one) == code_identity(one)
    assert code_identity(one) != code_identity(other)


@pytest.mark.parametrize(
    "code",
    [
        "import settings\ndef f(x): return x * settings.FACTOR",
        "def f(x):\n    import settings as s\n    return x * s.FACTOR",
        "def f(x):\n    from settings import FACTOR\n    return (lambda: FACTOR)()",
        "import settings\ndef f(x): return x * settings.within.FACTOR",
    ],
)
def test_what_is_used_of_ones_own_modules(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    module = ModuleType("settings")
    module.FACTOR, module.OTHER, module.within = 1, 1, module
    monkeypatch.setitem(sys.modules, "settings", module)
    space: dict[str, Any] = {"__name__": "one"}
    exec(code, space)
    before = code_identity(space["f"])
    module.OTHER = 2
    assert code_identity(space["f"]) == before
    module.FACTOR = 2
    assert code_identity(space["f"]) != before


def test_a_module_that_is_not_there_yet_is_unknown() -> None:
    space: dict[str, Any] = {"__name__": "one"}
    exec("def f(x):\n    import no_such_module\n    return x", space)
    with pytest.raises(UnknownIdentityError, match="no_such_module"):
        code_identity(space["f"])


@pytest.mark.parametrize(
    "value", [torch.eye(2).to_sparse(), torch.eye(2, device="meta"), iter([1]), torch.nn.Linear(1, 1).forward]
)
def test_what_cannot_be_looked_at_is_unknown(value: Any) -> None:
    with pytest.raises(UnknownIdentityError):
        code_identity(make(value))


def test_what_has_no_content_is_refused(tmp_path: Any) -> None:
    with open(tmp_path / "file", "w") as file, pytest.raises(UnknownIdentityError, match="no content"):
        code_identity(make(file))
    with pytest.raises(UnknownIdentityError, match="Linear"):
        code_identity(make(torch.nn.Linear(1, 1)))
