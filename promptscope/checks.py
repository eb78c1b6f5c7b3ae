"""Checks of arguments at every call: an argument of another type or shape than the signature says raises an error."""

import inspect
import math
import sys
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, wraps
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, no_type_check

import numpy as np
from jaxtyping import AbstractArray, jaxtyped

from promptscope.arrays import as_floats
from promptscope.errors import ArgumentError, PromptscopeError, nearest
from promptscope.undo import left_as_found

F = TypeVar("F", bound=Callable[..., Any])
_MAKERS = {
    "HookedModel": "ps.load_model(...)",
    "Prompt": "ps.load_prompt(folder)",
    "Task": "ps.load_task(...)",
    "Tensor": "torch.tensor(...)",
    "TrainConfig": "ps.TrainConfig(...)",
}


def checked(
    nan: Collection[str] = (),
    empty: Collection[str] = (),
    hints: Mapping[str, str] | None = None,
    error: type[PromptscopeError] | None = None,
    **at_least: int | float,
) -> Callable[[F], F]:
    """Decorate a function or class so that its arguments are checked against its signature at every call.

    * Where the signature asks for a NumPy array of floats, tensors, lists of numbers and other float types are
      converted, since the conversion changes no number. Integer arrays and text are refused.
    * An array must have the dtype and the number of dimensions of its annotation. An axis name that occurs in two
      annotations (`n`) must have the same length in both; nothing is broadcast.
    * A NumPy array of numbers must be finite, unless its argument is listed in *nan*, and must not be empty, unless its
      argument is listed in *empty*.
    * `Literal`, int, float, str, bool and sequences of them are checked strictly: True is not an int, 16.0 is not an
      int, NaN is not a float, and a str is not a sequence of str.

    Args:
        nan: names of the arguments that may contain NaN or infinity.
        empty: names of the array arguments that may be empty.
        hints: argument name -> a sentence that the error message ends with.
        error: the exception class to raise in place of ArgumentError.
        at_least: the smallest allowed value of a number, by argument name: `@checked(batch_size=1)`.

    Raises:
        ArgumentError: (also a ValueError) it names the argument, what it must be and the value given.

    >>> @checked(times=1)
    ... def repeat(word: str, times: int) -> str:
    ...     return word * times
    >>> repeat("a", times=0)
    Traceback (most recent call last):
    promptscope.errors.ArgumentError: repeat: times must be at least 1, got 0.
    """

    def decorate(function: F) -> F:
        if isinstance(function, type):
            function.__init__ = decorate(function.__init__)  # type: ignore[misc]
            return function  # type: ignore[return-value]

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            signature = signature_of(function)  # not sooner: all names that annotations use are defined by now
            called = function.__qualname__.replace(".__init__", "")
            try:
                bound = _bound(called, signature, args, kwargs)
                _take_foreign_numbers(signature, bound.arguments)
                _check_all(called, signature, bound.arguments, nan, empty, at_least, hints or {})
            except ArgumentError as problem:
                if error is None:
                    raise
                raise error(str(problem)) from None
            with left_as_found():
                return function(*bound.args, **bound.kwargs)

        return call  # type: ignore[return-value]

    return decorate


def _bound(
    called: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> inspect.BoundArguments:
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        known = [name for name in signature.parameters if name != "self"]
        close = next((hint for name in kwargs if name not in known if (hint := nearest(name, known))), "")
        hint = close or _about_order(called, signature, args)
        raise ArgumentError(f"{called}: {error}. Its arguments are {', '.join(known)}.{hint}") from error


def _about_order(called: str, signature: inspect.Signature, args: tuple[Any, ...]) -> str:
    """Return a hint where a task was passed as the prompt argument, as happens when there is no prompt."""
    for name, value in zip(signature.parameters, args, strict=False):
        if name in ("prompt", "prompts") and type(value).__name__ == "Task":
            return f" The task comes after the prompt; without a prompt: {called}(model, None, task)."
    return ""


def _take_foreign_numbers(signature: inspect.Signature, given: dict[str, Any]) -> None:
    """Replace tensors and lists of numbers in *given* by NumPy arrays where the signature asks for floats."""
    for name, value in given.items():
        kind = signature.parameters[name].annotation
        kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
        if any(map(_wants_floats, kinds)) and not _fits(value, kind):
            array = as_floats(value)
            given[name] = value if array is None else array


def _wants_floats(kind: Any) -> bool:
    return (
        isinstance(kind, type)
        and issubclass(kind, AbstractArray)
        and kind.array_type is np.ndarray
        and kind.__name__.startswith("Float")
    )


@cache
def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature with its annotations as types; names imported under TYPE_CHECKING become `Any`."""
    signature = inspect.signature(function)
    names = vars(sys.modules[function.__module__])
    parameters = []
    for parameter in signature.parameters.values():
        kind = parameter.annotation
        if isinstance(kind, str):
            try:
                kind = eval(kind, names)
            except NameError:
                kind = Any
        parameters.append(parameter.replace(annotation=kind))
    return signature.replace(parameters=parameters)


def check_between(name: str, value: int | float, low: int | float, high: int | float) -> None:
    """Raise ArgumentError for a number outside of the open interval (low, high).

    >>> check_between("level", 0.95, 0, 1)
    """
    if not low < value < high:
        raise ArgumentError(f"{name} must lie between {low:g} and {high:g}, got {value}.")


def check_not_negative(name: str, values: np.ndarray) -> None:
    """Raise ArgumentError if an array holds a negative number.

    >>> check_not_negative("mass", np.array([0.0, 2.0]))
    """
    if values.size and values.min() < 0:
        raise ArgumentError(f"{name} must not be negative, got {values.min():.4g}.")


def check_indices(name: str, indices: np.ndarray, n: int, low: int = 0) -> None:
    """Raise ArgumentError if an index lies outside of low..n-1; NumPy would count negative ones from the end.

    >>> check_indices("gold", np.array([0, 2]), 3)
    """
    if indices.size and not low <= int(indices.min()) <= int(indices.max()) < n:
        found = f"{int(indices.min())}..{int(indices.max())}"
        raise ArgumentError(f"{name} must lie in {low}..{n - 1}, got {found}.")


def _check_all(
    called: str,
    signature: inspect.Signature,
    given: Mapping[str, Any],
    nan: Collection[str],
    empty: Collection[str],
    at_least: Mapping[str, int | float],
    hints: Mapping[str, str],
) -> None:
    with jaxtyped("context"):  # in which the axes of all arguments are the same axes
        for name, value in given.items():
            parameter = signature.parameters[name]
            several = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if several or parameter.annotation is parameter.empty or value is parameter.default:
                continue
            where = f"{called}: {name}"
            if not _fits(value, parameter.annotation):
                wanted = _words(parameter.annotation)
                hint = f" {hints[name]}" if name in hints else _hint(value, parameter.annotation)
                others = _shapes(name, given) if _is_array(value) else ""
                order = _order(value, name, signature)
                raise ArgumentError(f"{where} must be {wanted}, got {_shown(value)}{others}.{order or hint}")
            if name not in nan and not _finite(value):
                raise ArgumentError(
                    f"{where} must not be or hold NaN or infinity, got {_shown(value)}: remove such values."
                )
            if name not in empty and isinstance(value, np.ndarray) and not value.size:
                raise ArgumentError(
                    f"{where} must hold at least one number, got an empty array of shape {value.shape}."
                )
            low = at_least.get(name)
            if low is not None and value is not None and not value >= low:
                raise ArgumentError(f"{where} must be at least {low:g}, got {value}.")


@no_type_check  # a runtime checker would open a context of axes of its own at every call
def _fits(value: Any, kind: Any) -> bool:
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any or isinstance(kind, TypeVar):
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in args)
    if origin is Literal:
        return isinstance(value, str | int | None) and value in args
    if kind is None or kind is type(None):
        return value is None
    if kind is bool:
        return isinstance(value, bool | np.bool_)
    if kind is int:
        return isinstance(value, int | np.integer) and not isinstance(value, bool)
    if kind is float:
        return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if origin is tuple and args and args[-1] is not Ellipsis:
        return isinstance(value, tuple) and len(value) == len(args) and all(map(_fits, value, args))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, origin) and all(
            _fits(key, args[0]) and _fits(entry, args[1]) for key, entry in value.items()
        )
    if isinstance(origin, type) and issubclass(origin, Sequence | set | frozenset):
        of_texts = isinstance(value, str | bytes)
        return isinstance(value, origin) and not of_texts and all(_fits(entry, args[0]) for entry in value)
    if origin is not None and isinstance(origin, type):  # an iterable is not read: it may give its items once only
        return isinstance(value, origin) and not isinstance(value, str | bytes)
    return isinstance(value, kind) if isinstance(kind, type) else True


def _finite(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind not in "fc" or bool(np.isfinite(value).all())
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _words(kind: Any) -> str:
    """Return in words what an annotation asks for."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(one) for one in args)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, args))
    if kind is type(None):
        return "None"
    if isinstance(kind, type) and issubclass(kind, AbstractArray):
        library = "torch" if kind.array_type.__module__.startswith("torch") else "NumPy"
        number = kind.__name__.split("[")[0].lower()
        return f"a {library} array ({number}) of shape ({kind.dim_str}), equal names being equal lengths"
    plain = {int: "a whole number (int)", float: "a number", str: "a text", bool: "True or False"}
    if isinstance(kind, type) and kind in plain:
        return plain[kind]
    if origin is not None:
        inside = ", ".join(_words(one) for one in args if one is not Ellipsis)
        return f"a {getattr(origin, '__name__', origin)} of ({inside})".lower()
    return f"a {getattr(kind, '__name__', kind)}"


def _shown(value: Any) -> str:
    if _is_array(value):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    text = repr(value) if isinstance(value, str | bytes | int | float | bool | list | tuple | dict | None) else ""
    text = text if len(text) <= 60 else text[:57] + "..."
    return f"{text} ({type(value).__name__})" if text else f"a {type(value).__name__}"


def _is_array(value: Any) -> bool:
    return isinstance(getattr(value, "shape", None), tuple) and hasattr(value, "dtype")  # torch.Size is a tuple


def _shapes(but: str, given: Mapping[str, Any]) -> str:
    """Return the shapes of the other arguments, for the message about axes that must be equally long."""
    others = {name: value for name, value in given.items() if name != but and _is_array(value)}
    arrays = [f"{name} of shape {tuple(value.shape)}" for name, value in others.items()]
    return f", with {', '.join(arrays)}" if arrays else ""


def _order(value: Any, name: str, signature: inspect.Signature) -> str:
    """Return the order of the arguments if *value*, an object of promptscope, fits another argument."""
    if not type(value).__module__.startswith("promptscope."):
        return ""
    names = [one for one in signature.parameters if one != "self"]
    kinds = {one: signature.parameters[one].annotation for one in names}
    fitting = [one for one in names if one != name and kinds[one] is not Any and _fits(value, kinds[one])]
    return f" It fits {fitting[0]}: the order is {', '.join(names)}." if fitting else ""


def _hint(value: Any, kind: Any) -> str:
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    options = [option for one in kinds if get_origin(one) is Literal for option in get_args(one)]
    if isinstance(value, str):
        close = nearest(value.lower(), [str(option) for option in options])
        if close:
            return close
        if any(get_origin(one) is Sequence and get_args(one) == (str,) for one in kinds):
            return " Put a single text in a list."
    makers = [_MAKERS[name] for one in kinds for name in [getattr(one, "__name__", "")] if name in _MAKERS]
    if makers:
        return f" Make it with {makers[0]}."
    if isinstance(value, list | tuple) and any(
        isinstance(one, type) and issubclass(one, AbstractArray) for one in kinds
    ):
        return " Make it with np.array(...)."
    return ""
