"""Command-line options from the fields of a dataclass, with their types and the descriptions in its docstring."""

import re
import textwrap
import types
from typing import Any, Union, get_args, get_origin


def described(settings: type) -> dict[str, str]:
    """Return the description of each field in the `Args:` section of the docstring.

    >>> class Settings:
    ...     '''Some.
    ...
    ...     Args:
    ...         a, b: of the
    ...             first kind.
    ...         c: another.
    ...     '''
    >>> described(Settings)
    {'a': 'Of the first kind.', 'b': 'Of the first kind.', 'c': 'Another.'}
    """
    _, _, after = (settings.__doc__ or "").partition("Args:\n")
    block = textwrap.dedent(after.split("\n\n")[0])
    entries = re.findall(r"^(\w[\w, ]*): (.*(?:\n +.*)*)", block, re.M)
    sentences = [(names, " ".join(text.split())) for names, text in entries]
    return {name: text[:1].upper() + text[1:] for names, text in sentences for name in names.split(", ")}


def as_option(kind: Any) -> Any:
    """Return the type of a command-line option for a field's type; int | float becomes float.

    >>> as_option(int | float | None) == float | None, as_option(tuple[int | float, int | float]), as_option(int)
    (True, tuple[float, float], <class 'int'>)
    """
    if get_origin(kind) is tuple:
        return types.GenericAlias(tuple, tuple(as_option(one) for one in get_args(kind)))
    if get_origin(kind) not in (Union, types.UnionType):
        return kind
    kinds = [one for one in get_args(kind) if one is not int or float not in get_args(kind)]
    return kinds[0] if len(kinds) == 1 else Union[tuple(kinds)]  # noqa: UP007 - made while running
