"""`promptscope/__init__.py` lists its names twice, for type checkers and for Python: they must agree."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import promptscope as ps


def names_for_type_checkers() -> dict[str, str]:
    """Return name -> module of the imports under `if TYPE_CHECKING`."""
    tree = ast.parse(Path(ps.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: str(node.module) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }


def test_both_tables_agree() -> None:
    assert sorted(names_for_type_checkers()) == ps.__all__


@pytest.mark.parametrize(("name", "module"), sorted(names_for_type_checkers().items()))
def test_every_name_is_there(name: str, module: str) -> None:
    value = getattr(ps, name)
    expected = getattr(sys.modules[module], name) if module != "promptscope" else sys.modules[f"promptscope.{name}"]
    assert value is expected


def test_every_docstring_has_an_example() -> None:
    """Doctest runs them; a name without one would not be missed there."""
    public = {name: getattr(ps, name) for name in ps.__all__}
    documented = {name: value for name, value in public.items() if inspect.isclass(value) or inspect.isroutine(value)}
    for module in filter(inspect.ismodule, public.values()):
        functions = {
            name: getattr(module, name)
            for name in getattr(module, "__all__", ())
            if inspect.isroutine(getattr(module, name))
        }
        documented |= {f"{module.__name__}.{name}": function for name, function in functions.items()}
    assert len(documented) > 150
    assert [name for name, value in documented.items() if ">>>" not in (value.__doc__ or "")] == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lod_model'"):
        _ = ps.lod_model


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, promptscope.cli; print([m for m in ('torch', 'transformers', 'plotly') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
