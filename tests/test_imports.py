"""Imports point downwards: no file of these folders imports, also through others, a file that imports it."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import promptscope as ps

ROOT = Path(ps.__file__).parent
BELOW = {
    "models": ("statistics", "files"),
    "engine": ("models",),
    "inference": ("engine", "models", "prompts", "tasks"),
    "interventions": ("inference", "engine", "models", "prompts", "tasks", "probes", "statistics", "plots"),
}
"""Folder -> the folders that it may import; files that lie in no folder (errors, checks) are below all of them."""


def imported(file: Path) -> set[str]:
    """Return the modules of promptscope that a file imports anywhere in it, for types or inside of functions too."""
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    found = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name for name in found if name.startswith("promptscope.")}


@pytest.mark.parametrize("folder", BELOW)
def test_no_file_imports_one_that_imports_it(folder: str) -> None:
    files = [file for file in (ROOT / folder).rglob("*.py") if file.name != "__init__.py"]
    graph = {".".join(("promptscope", *file.relative_to(ROOT).with_suffix("").parts)): imported(file) for file in files}
    TopologicalSorter({name: found & set(graph) for name, found in graph.items()}).prepare()  # CycleError names them


@pytest.mark.parametrize(("folder", "below"), BELOW.items())
def test_a_folder_imports_those_below_it(folder: str, below: tuple[str, ...]) -> None:
    every = set().union(*map(imported, (ROOT / folder).rglob("*.py")))
    folders = {name.split(".")[1] for name in every if (ROOT / name.split(".")[1]).is_dir()}
    assert folders <= {folder, *below}
