"""Examples in docstrings run inside their module; on the site they say what they import, so that they can be copied.

`>>> mean_interval(np.ones(3))` becomes `>>> ps.statistics.mean_interval(np.ones(3))` after two lines of imports.
"""

import ast
import builtins
import doctest
import inspect
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any

from _ext.api_pages import MODULES, home, prefix, public_names


def completed(lines: Sequence[str], globals_: Mapping[str, Any]) -> list[str]:
    """Return the lines of a docstring whose examples import what they take from *globals_*, or name its module.

    >>> import numpy as np, promptscope as ps
    >>> completed(["Text.", ">>> topic = load_task(x)", ">>> np.e"], {"np": np, "load_task": ps.load_task, "x": 1})
    ['Text.', '>>> import numpy as np', '>>> import promptscope as ps', '>>> topic = ps.load_task(x)', '>>> np.e']
    """
    examples = doctest.DocTestParser().get_examples("\n".join(lines))
    trees = [ast.parse(example.source) for example in examples]
    new = list(lines)
    imports: dict[str, None] = {}
    prefixes: dict[str, str] = {}
    for name in missing(trees):
        if name not in globals_:
            continue
        value = globals_[name]
        written = _prefix(name, value)
        if inspect.ismodule(value):
            imports[f"import {value.__name__}" + (f" as {name}" if name != value.__name__ else "")] = None
        elif written.startswith("ps."):
            prefixes[name] = written
        elif written or hasattr(value, "__module__"):
            imports[f"from {written.rstrip('.') or value.__module__} import {name}"] = None
    if prefixes and "ps" not in bound(trees):
        imports["import promptscope as ps"] = None
    for example, tree in zip(examples, trees, strict=True):
        places = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in prefixes]
        for node in sorted(places, key=lambda node: -node.col_offset):
            i, column = example.lineno + node.lineno - 1, example.indent + 4 + node.col_offset
            new[i] = new[i][:column] + prefixes[node.id] + new[i][column:]
    if examples:
        first = examples[0]
        new[first.lineno : first.lineno] = [f"{' ' * first.indent}>>> {line}" for line in imports]
    return new


def bound(trees: Sequence[ast.AST]) -> set[str]:
    """Return the names that examples bind: by assignment, import, definition, or as arguments."""
    found = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.ExceptHandler) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
    return found


def missing(trees: Sequence[ast.AST]) -> list[str]:
    """Return the names that examples use and do not bind, in order."""
    used = [node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)]
    known = bound(trees)
    return [name for name in dict.fromkeys(used) if name not in known and not hasattr(builtins, name)]


def _prefix(name: str, value: Any) -> str:
    return _prefixes().get((name, id(value)), "")


@cache
def _prefixes() -> dict[tuple[str, int], str]:
    return {
        (name, id(getattr(import_module(module), name))): prefix(home(module, name), name)
        for module in MODULES
        for name in public_names(module)
    }


def namespace(value: Any) -> Mapping[str, Any]:
    """Return the names that are known where a function, class or property was written."""
    value = getattr(value, "fget", None) or getattr(value, "func", None) or value
    value = inspect.unwrap(value) if callable(value) else value
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    return vars(module) if module is not None else {}


def complete(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Sphinx calls this for each docstring."""
    lines[:] = completed(lines, namespace(value))


def setup(app: Any) -> dict[str, Any]:
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", complete, priority=90)
    return {"parallel_read_safe": True}
