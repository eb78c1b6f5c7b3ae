"""The examples in the docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import promptscope.tasks

MODULES = [f"promptscope.tasks.{module.name}" for module in pkgutil.iter_modules(promptscope.tasks.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS).failed == 0
