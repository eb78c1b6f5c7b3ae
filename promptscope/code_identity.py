"""A hash of a function or class that covers its code and everything that the code refers to."""

import copyreg
import dataclasses
import dis
import functools
import inspect
import operator
import sys
import types
from collections.abc import Iterator, Mapping
from importlib.metadata import packages_distributions, version
from importlib.util import resolve_name
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

from promptscope.files import content_hash, tensor_hash

_NOT_BEHAVIOUR = (
    *("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annotations__", "__firstlineno__"),
    *("__static_attributes__", "__abstractmethods__", "_abc_impl", "__parameters__", "__orig_bases__"),
    *("__annotate__", "__annotate_func__", "__annotations_cache__", "__type_params__", "__match_args__"),
)
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), type(NotImplemented))

Seen = dict[int, tuple[int, Any]]


class UnknownIdentityError(Exception):
    """The code refers to something without content that could be hashed, such as an open file or a model."""


def code_identity(thing: Any) -> str:
    """Return a hash of a function or class *thing* that changes whenever its results may change.

    The hash covers bytecode and constants, default values, attributes of functions, variables of enclosing functions,
    the values of the global names that the code uses (functions and classes among them are hashed in the same way), the
    parts that it uses of your own modules, class attributes, base classes, and the attributes of objects. Functions and
    classes from an installed package are hashed by name and package version. Comments, line numbers and file names do
    not change the hash.

    Raises:
        UnknownIdentityError: the code refers to something without content to hash (an open file, a model).

    >>> def double(x):
    ...     return 2 * x
    >>> def triple(x):
    ...     return 3 * x
    >>> code_identity(double) == code_identity(triple)
    False
    """
    try:
        return content_hash(_describe(thing, {}))
    except RecursionError as error:
        raise UnknownIdentityError("the objects that it refers to are nested too deeply to be hashed") from error


def _describe(value: Any, seen: Seen) -> Any:
    if type(value) in _PLAIN:
        return [type(value).__name__, repr(value)]
    if id(value) in seen:  # a function that calls itself, a list that holds itself
        return ["seen", seen[id(value)][0]]
    seen[id(value)] = len(seen), value  # held, so that nothing else gets its id meanwhile
    if (name := _importable(value)) is not None:
        return name
    describe = _EXACT.get(type(value)) or next((one for kind, one in _KINDS if isinstance(value, kind)), _object)
    return describe(value, seen)


def _function(function: Any, seen: Seen) -> Any:
    code: CodeType = function.__code__
    home = function.__globals__
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    return [
        "function",
        _code(code),
        _describe(list(function.__defaults__ or ()), seen),
        _mapping(function.__kwdefaults__ or {}, seen),
        _mapping(vars(function), seen),
        {name: _cell(cell, seen) for name, cell in cells},
        _release(str(home.get("__name__"))) or _used(code, home, seen),
    ]


def _cell(cell: Any, seen: Seen) -> Any:
    try:
        return _describe(cell.cell_contents, seen)
    except ValueError:  # not filled yet
        return "empty"


def _used(code: CodeType, home: Mapping[str, Any], seen: Seen) -> Any:
    """Describe the globals of its module (*home*) that *code* uses, and the modules that it imports itself."""
    names = _names(code)
    found = {name: home[name] for name in sorted(names) if name in home}
    found |= {f"import {name}": _imported(name) for name in _imports(code, home.get("__package__"))}
    return {
        name: _module(value, names, seen) if isinstance(value, ModuleType) else _describe(value, seen)
        for name, value in found.items()
    }


def _names(code: CodeType) -> set[str]:
    """Return the global names that *code* and the functions inside it may use, and (harmlessly) names of attributes."""
    return set(code.co_names).union(*map(_names, _inner(code)))


def _imports(code: CodeType, package: str | None) -> list[str]:
    """Return the names of the modules that *code* and the functions inside it import when they run."""
    steps = list(dis.get_instructions(code))
    found = {
        resolve_name("." * steps[i - 2].argval + step.argval, package)  # the level, the names, the module
        for i, step in enumerate(steps)
        if step.opname == "IMPORT_NAME"
    }
    return sorted(found.union(*(_imports(inner, package) for inner in _inner(code))))


def _inner(code: CodeType) -> Iterator[CodeType]:
    return (constant for constant in code.co_consts if isinstance(constant, CodeType))


def _imported(name: str) -> ModuleType:
    if name not in sys.modules and _release(name) is None:
        raise UnknownIdentityError(f"the module {name!r} is not imported yet")
    return sys.modules.get(name) or ModuleType(name)


def _module(module: ModuleType, names: set[str], seen: Seen, within: tuple[ModuleType, ...] = ()) -> Any:
    """Describe a module: an installed one by its version, another by those of its contents that are in *names*."""
    if release := _release(module.__name__):
        return ["module", module.__name__, release]
    if module in within:
        return ["module", module.__name__]
    within = (*within, module)
    used = {name: value for name, value in vars(module).items() if name in names}
    return {
        name: _module(value, names, seen, within) if isinstance(value, ModuleType) else _describe(value, seen)
        for name, value in used.items()
    }


def _lone_module(module: ModuleType, seen: Seen) -> Any:
    if release := _release(module.__name__):
        return ["module", module.__name__, release]
    raise UnknownIdentityError(f"the module {module.__name__!r} is used as a whole, and whole modules are not hashed")


def _code(code: CodeType) -> list[Any]:
    # Not marshal or co_filename: moving a cell or a line must not change the hash.
    constants = [_code(c) if isinstance(c, CodeType) else repr(_ordered(c)) for c in code.co_consts]
    flags = [code.co_flags, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount]
    return [code.co_code.hex(), code.co_exceptiontable.hex(), flags, [*code.co_names], [*code.co_varnames], constants]


def _ordered(constant: Any) -> Any:
    return sorted(constant, key=repr) if isinstance(constant, frozenset) else constant


def _class(cls: type, seen: Seen) -> Any:
    members = {
        name: _describe(member, seen)
        for name, member in sorted(vars(cls).items())
        if name not in _NOT_BEHAVIOUR and not _is_slot(member) and not _generated(cls, name)
    }
    return ["class", cls.__qualname__, members, [_describe(base, seen) for base in (type(cls), *cls.__bases__)]]


def _is_slot(member: Any) -> bool:
    return inspect.isgetsetdescriptor(member) or inspect.ismemberdescriptor(member)


def _generated(cls: type, name: str) -> bool:
    """Return whether `dataclass` generated a method; it follows from the fields, which are hashed anyway."""
    member = vars(cls)[name]
    member = inspect.unwrap(member) if isinstance(member, FunctionType) else None
    written = member is not None and member.__code__.co_filename == "<string>"
    return "__dataclass_fields__" in vars(cls) and name.startswith("__") and written


def _field(field: Any, seen: Seen) -> Any:
    parts = field.default, field.default_factory, field.init, field.compare, field.kw_only
    return ["field", [_describe(part, seen) for part in parts]]


def _property(member: property, seen: Seen) -> Any:
    return ["property", [_describe(function, seen) for function in (member.fget, member.fset, member.fdel)]]


def _bound(method: Any, seen: Seen) -> Any:
    return ["method", _describe(method.__func__, seen), _describe(method.__self__, seen)]


def _builtin(function: Any, seen: Seen) -> Any:
    owner = getattr(function, "__objclass__", None) or getattr(function, "__self__", None)
    return ["builtin", function.__name__, _describe(owner, seen)]


def _wrapped(member: Any, seen: Seen) -> Any:
    return [type(member).__name__, _describe(member.__wrapped__, seen)]


def _cached(member: Any, seen: Seen) -> Any:
    return ["cached property", _describe(member.func, seen)]


def _mapping(value: Mapping[Any, Any], seen: Seen) -> Any:
    return ["mapping", [[_describe(key, seen), _describe(item, seen)] for key, item in value.items()]]


def _sequence(value: Any, seen: Seen) -> Any:
    return [type(value).__name__, [_describe(item, seen) for item in value]]


def _set(value: Any, seen: Seen) -> Any:
    return [type(value).__name__, sorted(repr(_describe(item, {})) for item in value)]


def _tensor(value: torch.Tensor, seen: Seen) -> Any:
    if value.is_meta or value.layout != torch.strided or value.is_quantized:
        raise UnknownIdentityError(f"a tensor of layout {value.layout} on {value.device} cannot be hashed")
    return ["tensor", tensor_hash(value)]


def _array(value: Any, seen: Seen) -> Any:
    value = np.asarray(value)
    if value.dtype.hasobject:
        raise UnknownIdentityError("an array of objects has no content that could be hashed")
    return ["array", tensor_hash(torch.from_numpy(np.ascontiguousarray(value).view(np.uint8).copy())), str(value.dtype)]


def _repr(value: Any, seen: Seen) -> Any:
    return [type(value).__name__, repr(value)]


def _no_content(value: Any, seen: Seen) -> Any:
    raise UnknownIdentityError(f"a {type(value).__name__} has no content that could be hashed")


def _object(value: Any, seen: Seen) -> Any:
    """Describe any other object by what pickling keeps of it: its class and its attributes."""
    try:
        known = copyreg.dispatch_table.get(type(value))
        parts = value.__reduce_ex__(4) if known is None else known(value)
    except Exception:  # whatever a class raises that cannot be pickled
        return _no_content(value, seen)
    if isinstance(parts, str):  # by its name alone
        return _no_content(value, seen)
    make, arguments, state, items, pairs = (*parts, None, None, None)[:5]
    return [
        "object",
        *(_describe(part, seen) for part in (type(value), make, arguments, state)),
        *([] if part is None else _describe(list(part), seen) for part in (items, pairs)),
    ]


_EXACT: dict[type, Any] = {
    dict: _mapping,
    types.MappingProxyType: _mapping,
    list: _sequence,
    tuple: _sequence,
    set: _set,
    frozenset: _set,
    np.ndarray: _array,
    torch.Tensor: _tensor,
    torch.nn.Parameter: _tensor,
}
"""Types whose objects are identified by their content alone; objects of subclasses may hold more."""

_KINDS: tuple[tuple[Any, Any], ...] = (
    (type, _class),
    (FunctionType, _function),
    (MethodType, _bound),
    ((types.BuiltinFunctionType, types.MethodWrapperType), _builtin),
    ((types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType), _builtin),
    (ModuleType, _lone_module),
    (CodeType, lambda code, seen: _code(code)),
    (property, _property),
    (functools.cached_property, _cached),
    ((staticmethod, classmethod, functools._lru_cache_wrapper), _wrapped),
    (dataclasses.Field, _field),
    (np.generic, _array),
    ((torch.dtype, torch.device, torch.layout, slice, range), _repr),
    # A module has hooks, buffers and perhaps a gigabyte; an iterator is used up by being looked at.
    ((torch.nn.Module, torch.Tensor, Iterator), _no_content),
)


def _importable(value: Any) -> Any:
    """Return the name of an object that can be imported from an installed package; None for every other object."""
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if not isinstance(module, str) or not isinstance(name, str) or (release := _release(module)) is None:
        return None
    try:
        found = operator.attrgetter(name)(sys.modules[module])
    except (AttributeError, KeyError):
        return None
    # Methods of a class are made anew at every look.
    same = found is value or (isinstance(value, MethodType) and found == value)
    return ["installed", module, name, release] if same else None


@functools.cache
def _release(module: str) -> str | None:
    """Return the version of the installed package that contains *module*; None if it is not an installed one."""
    top = module.partition(".")[0]
    if top == "promptscope":  # an editable installation does not list its modules
        return f"promptscope {version('promptscope')}"
    if top in sys.stdlib_module_names:
        return sys.version
    found = packages_distributions().get(top)
    return ", ".join(sorted(f"{name} {version(name)}" for name in set(found))) if found else None
