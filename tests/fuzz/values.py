"""Values that are no value of a kind, by the kind that a signature asks for."""

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np
import torch
from jaxtyping import AbstractArray

NAN = float("nan")


def wrong_for(kind: Any) -> list[Any]:
    """Return values that an argument of this annotation cannot take."""
    options = list(get_args(kind)) if get_origin(kind) in (Union, types.UnionType) else [kind]
    if any(one is Any or one is object for one in options):
        return []
    candidates = [value for one in options for value in _wrong(one)]
    if type(None) not in options:
        candidates.append(None)
    return [value for value in candidates if not any(_may_be(value, one) for one in options)]


def _wrong(kind: Any) -> list[Any]:
    origin = get_origin(kind) or kind
    if kind is int:
        return ["3", 2.5, True, NAN, [1], -(10**6)]
    if kind is float:
        return ["0.5", NAN, float("inf"), [0.5], True]
    if kind is str:
        return [3, b"text", ["text"], object()]
    if kind is bool:
        return [1, "yes", 0.0]
    if origin is Literal:
        return [str(get_args(kind)[0]) + "x", 7, ["a"]]
    if isinstance(kind, type) and issubclass(kind, AbstractArray):
        return _wrong_arrays(kind)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return ["name", 3, [1, 2]]
    if isinstance(origin, type) and issubclass(origin, Sequence | Iterable) and origin is not str:
        return ["text", 3, b"text", object()]
    if origin is Callable or isinstance(kind, type):
        return ["something", 3, object()]
    return []


def _wrong_arrays(kind: Any) -> list[Any]:
    torch_kind = kind.array_type.__module__.startswith("torch")
    make = torch.tensor if torch_kind else np.array
    values: list[Any] = ["text", 3, [["a"]], make(1.5), make([[[[[[1.0]]]]]])]
    if not torch_kind:
        values += [np.array(["a", "b"]), np.array([None])]
    return values


def _may_be(value: Any, kind: Any) -> bool:
    """Whether a value is one that this kind takes after all, or might."""
    origin = get_origin(kind) or kind
    if kind is type(None):
        return value is None
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and value == value and abs(value) != float("inf")
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if kind is bool:
        return isinstance(value, bool)
    if origin is Literal:
        return any(value is one or value == one for one in get_args(kind)) if isinstance(value, str) else False
    if isinstance(kind, type) and issubclass(kind, AbstractArray):
        return isinstance(value, kind)
    if isinstance(origin, type) and issubclass(origin, Sequence | Iterable) and origin is not str:
        fits = isinstance(value, origin) and not isinstance(value, str | bytes)
        inside = get_args(kind)
        return fits and (not inside or all(not isinstance(v, Iterable) and _may_be(v, inside[0]) for v in value))
    return isinstance(value, origin) if isinstance(origin, type) else True
