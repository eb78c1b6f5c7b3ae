"""The code that a plain model runs (its classes, and functions of their modules), to notice replaced parts."""

import sys
import sysconfig
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType
from typing import Any

import torch
import transformers
from torch import nn

from promptscope.code_identity import UnknownIdentityError, code_identity
from promptscope.models.attached import is_written_in

_KNOWN = (Path(torch.__file__).parent, Path(transformers.__file__).parent, Path(sysconfig.get_paths()["stdlib"]))

Look = Callable[[], dict[str, Any]]


def code_of(root: nn.Module) -> Iterator[tuple[str, Look]]:
    """Yield the names of the classes of *root*'s modules and of the transformers files that define them.

    Each comes with a function that returns its present contents.
    """
    files = {}
    for kind in _classes(root):
        yield kind.__qualname__, partial(_members, kind)
        if kind.__module__.startswith("transformers.models."):
            files[kind.__module__] = sys.modules[kind.__module__]
    for name, file in files.items():
        yield name, partial(_functions, file)


def foreign_code(root: nn.Module) -> dict[str, str]:
    """Return hashes, by name, of the code that *root* runs and that is not part of transformers or PyTorch.

    A replaced method or a class of the user's own determines the model's outputs, as its weights do. Code that cannot
    be hashed gets a new random value at each call, so that no stored result is reused for it.
    """
    found = {}
    for holder, look in code_of(root):
        for name, member in look().items():
            if not _is_known(member):
                found[f"{holder}.{name}"] = _hash(member)
    return found


def _classes(root: nn.Module) -> list[type]:
    """Return the classes of *root*'s modules, without PyTorch's and the common base classes of transformers."""
    every = dict.fromkeys(cls for module in nn.Module.modules(root) for cls in type(module).__mro__)
    shared = ("transformers.modeling_", "transformers.generation", "transformers.integrations", "transformers.utils")
    return [
        cls
        for cls in every
        if cls.__module__.partition(".")[0] not in ("torch", "builtins", "abc", "typing", "transformer_lens")
        and not cls.__module__.startswith(shared)
    ]


def _members(kind: type) -> dict[str, Any]:
    return {name: member for name, member in vars(kind).items() if not name.startswith("__") and name != "_abc_impl"}


def _functions(file: Any) -> dict[str, Any]:
    return {name: x for name, x in vars(file).items() if callable(x) and not isinstance(x, type)}


def _is_known(member: Any) -> bool:
    """Return whether a member of a class is a value, or a (wrapped) function of transformers, PyTorch or Python."""
    if isinstance(member, staticmethod | classmethod):
        member = member.__func__
    if isinstance(member, property):
        return all(_is_known(part) for part in (member.fget, member.fset, member.fdel))
    if not callable(member) or isinstance(member, type | BuiltinFunctionType):
        return True
    while member is not None:
        if not is_written_in(member, _KNOWN):
            return False
        member = getattr(member, "__wrapped__", None)
    return True


def _hash(member: Any) -> str:
    try:
        return code_identity(member)
    except UnknownIdentityError:
        return f"unknown {uuid.uuid4()}"
