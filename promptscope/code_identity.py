"""What a function or a class computes, as a hash of its code and of everything that the code refers to."""

import functools
import inspect
import sys
from collections.abc import Mapping
from importlib.metadata import packages_distributions, version
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

from promptscope.files import content_hash, tensor_hash

_NOT_BEHAVIOUR = (
    *("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annotations__", "__firstlineno__"),
    *("__static_attributes__", "__abstractmethods__", "_abc_impl", "__parameters__"),
    *("__dataclass_fields__", "__dataclass_params__", "__match_args__"),
)

Seen = dict[int, tuple[int, Any]]


class UnknownIdentityError(Exception):
    """Something that the code refers to has no content that could be hashed: an open file, a model."""


def code_identity(thing: Any) -> str:
    """Return a hash that changes whenever what *thing*, a function or a class, computes may change.

    Hashed are: bytecode and constants, default values, variables of enclosing functions, global names that the code
    uses (their values; functions and classes among them in the same way), class attributes, base classes. What belongs
    to an installed package counts by its name and the package's version. Comments, line numbers and file names do not
    count.

    Raises:
        UnknownIdentityError: it refers to something that has no content to hash.

    >>> def double(x):
    ...     return 2 * x
    >>> def triple(x):
    ...     return 3 * x
    >>> code_identity(double) == code_identity(triple)
    False
    """
    return content_hash(_describe(thing, {}))


def _describe(value: Any, seen: Seen) -> Any:
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return [type(value).__name__, repr(value)]
    if id(value) in seen:  # a function that calls itself, a list that holds itself
        return ["seen", seen[id(value)][0]]
    seen[id(value)] = len(seen), value  # held, so that nothing else gets its id meanwhile
    if isinstance(value, ModuleType):
        return ["module", value.__name__, _release(value.__name__)]
    if (name := _installed(value)) is not None:
        return name
    for kind, describe in _KINDS:
        if isinstance(value, kind):
            return describe(value, seen)
    if _is_plain_object(value):
        return ["object", _describe(type(value), seen), _mapping(vars(value), seen)]
    raise UnknownIdentityError(f"a {type(value).__name__} has no content that could be hashed")


def _function(function: Any, seen: Seen) -> Any:
    function = inspect.unwrap(function)
    code: CodeType = function.__code__
    missing = object()
    used = {name: function.__globals__.get(name, missing) for name in sorted(_names(code))}
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    return [
        "function",
        _code(code),
        _describe(list(function.__defaults__ or ()), seen),
        _mapping(function.__kwdefaults__ or {}, seen),
        {name: _cell(cell, seen) for name, cell in cells},
        {name: _describe(value, seen) for name, value in used.items() if value is not missing},
    ]


def _cell(cell: Any, seen: Seen) -> Any:
    try:
        return _describe(cell.cell_contents, seen)
    except ValueError:  # not filled yet
        return "empty"


def _names(code: CodeType) -> set[str]:
    """Global names that *code* and the functions inside it may use; names of attributes are among them, harmlessly."""
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _code(code: CodeType) -> list[Any]:
    # Not marshal or co_filename: moving a cell or a line must not change the hash.
    constants = [_code(c) if isinstance(c, CodeType) else repr(_ordered(c)) for c in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), list(code.co_varnames), constants]


def _ordered(constant: Any) -> Any:
    return sorted(constant, key=repr) if isinstance(constant, frozenset) else constant


def _class(cls: type, seen: Seen) -> Any:
    members = {
        name: _describe(member, seen)
        for name, member in sorted(vars(cls).items())
        if name not in _NOT_BEHAVIOUR and not inspect.isgetsetdescriptor(member) and not _generated(cls, name)
    }
    return ["class", cls.__qualname__, members, [_describe(base, seen) for base in cls.__bases__]]


def _generated(cls: type, name: str) -> bool:
    """Whether `dataclass` wrote a method; it follows from the fields, which are attributes and values of instances."""
    member = vars(cls)[name]
    member = inspect.unwrap(member) if isinstance(member, FunctionType) else None
    written = member is not None and member.__code__.co_filename == "<string>"
    return "__dataclass_fields__" in vars(cls) and name.startswith("__") and written


def _property(member: property, seen: Seen) -> Any:
    return ["property", [_describe(function, seen) for function in (member.fget, member.fset, member.fdel)]]


def _partial(function: Any, seen: Seen) -> Any:
    return ["partial", *(_describe(part, seen) for part in (function.func, list(function.args), function.keywords))]


def _bound(method: Any, seen: Seen) -> Any:
    return ["method", _describe(method.__func__, seen), _describe(method.__self__, seen)]


def _wrapped(method: Any, seen: Seen) -> Any:
    return [type(method).__name__, _describe(method.__func__, seen)]


def _cached(member: Any, seen: Seen) -> Any:
    return ["cached property", _describe(member.func, seen)]


def _mapping(value: Mapping[Any, Any], seen: Seen) -> Any:
    return ["mapping", [[_describe(key, seen), _describe(item, seen)] for key, item in value.items()]]


def _sequence(value: Any, seen: Seen) -> Any:
    return [type(value).__name__, [_describe(item, seen) for item in value]]


def _set(value: Any, seen: Seen) -> Any:
    return [type(value).__name__, sorted(repr(_describe(item, {})) for item in value)]


def _tensor(value: torch.Tensor, seen: Seen) -> Any:
    return ["tensor", tensor_hash(value)]


def _array(value: Any, seen: Seen) -> Any:
    value = np.asarray(value)
    if value.dtype.hasobject:
        raise UnknownIdentityError("an array of objects has no content that could be hashed")
    return ["array", tensor_hash(torch.from_numpy(np.ascontiguousarray(value).view(np.uint8).copy())), str(value.dtype)]


def _repr(value: Any, seen: Seen) -> Any:
    return [type(value).__name__, repr(value)]


_KINDS: tuple[tuple[Any, Any], ...] = (
    (type, _class),
    (FunctionType, _function),
    (MethodType, _bound),
    (property, _property),
    (functools.cached_property, _cached),
    (functools.partial, _partial),
    ((staticmethod, classmethod), _wrapped),
    (torch.Tensor, _tensor),
    ((np.ndarray, np.generic), _array),
    ((torch.dtype, torch.device, slice, range), _repr),
    (Mapping, _mapping),
    ((list, tuple), _sequence),
    ((set, frozenset), _set),
)


def _is_plain_object(value: Any) -> bool:
    """Whether all that an object knows is in its `__dict__`; a module, say, has hooks and buffers besides."""
    made_in_python = type(value).__flags__ & (1 << 9)  # Py_TPFLAGS_HEAPTYPE
    return hasattr(value, "__dict__") and bool(made_in_python) and not isinstance(value, torch.nn.Module)


def _installed(value: Any) -> Any:
    """Name what belongs to an installed package; None for what the user wrote."""
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if not isinstance(module, str) or not isinstance(name, str) or not (callable(value) or isinstance(value, type)):
        return None
    release = _release(module)
    return None if release is None else ["installed", module, name, release]


@functools.cache
def _release(module: str) -> str | None:
    """Return the version of the package that holds *module*; None where it is not an installed one."""
    top = module.partition(".")[0]
    if top == "promptscope":  # an editable installation does not list its modules
        return f"promptscope {version('promptscope')}"
    if top in sys.stdlib_module_names:
        return sys.version
    found = packages_distributions().get(top)
    return ", ".join(sorted(f"{name} {version(name)}" for name in set(found))) if found else None
