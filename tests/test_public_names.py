"""`promptscope/__init__.py` lists its names twice, for type checkers and for Python: they must agree."""

import ast
import importlib.util
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import promptscope as ps

_spec = importlib.util.spec_from_file_location(
    "api_pages", Path(__file__).parents[1] / "docs" / "_ext" / "api_pages.py"
)
assert _spec is not None and _spec.loader is not None
api_pages = importlib.util.module_from_spec(_spec)  # the names that the reference of the site has
_spec.loader.exec_module(api_pages)


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
    documented = {
        f"{module}.{name}": getattr(import_module(module), name)
        for module in api_pages.MODULES
        for name in api_pages.public_names(module)
    }
    documented = {
        name: value for name, value in documented.items() if inspect.isclass(value) or inspect.isroutine(value)
    }
    assert len(documented) > 250
    documentation = {name: inspect.getdoc(value) or "" for name, value in documented.items()}
    # Longer examples are blocks, which tests/probes runs.
    assert [name for name, text in documentation.items() if ">>>" not in text and "```python" not in text] == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lod_model'"):
        _ = ps.lod_model


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, promptscope.cli; print([m for m in ('torch', 'transformers', 'plotly') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
