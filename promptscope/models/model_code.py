"""The code that a plain model runs: its classes, and the functions beside them, which anybody can replace."""

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
    """Yield what *root* runs, by name: its modules' classes, and the files of transformers in which they are written.

    Each with a function that looks what is in there now.
    """
    files = {}
    for kind in _classes(root):
        yield kind.__qualname__, partial(_members, kind)
        if kind.__module__.startswith("transformers.models."):
            files[kind.__module__] = sys.modules[kind.__module__]
    for name, file in files.items():
        yield name, partial(_functions, file)


def foreign_code(root: nn.Module) -> dict[str, str]:
    """Return the hashes of what *root* runs that neither transformers nor PyTorch wrote.

    A replaced method, a class of one's own: part of what the model computes, like its weights. What cannot be hashed
    gets another number each time, so that nothing that is kept is ever taken for it.
    """
    found = {}
    for holder, look in code_of(root):
        for name, member in look().items():
            if not _is_known(member):
                found[f"{holder}.{name}"] = _hash(member)
    return found


def _classes(root: nn.Module) -> list[type]:
    """Return the classes that compute: not PyTorch's, nor what all models of transformers inherit."""
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
    """Whether a member is a value, or a function of transformers, PyTorch or Python, whatever it is wrapped in."""
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
