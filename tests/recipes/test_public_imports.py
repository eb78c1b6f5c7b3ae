"""Recipes are written with public names alone: what a paper needs, a user can have."""

import ast
from pathlib import Path

import promptscope as ps
from docs._ext.api_pages import MODULES, public_names

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def test_recipes_import_no_private_module() -> None:
    private = []
    for path in sorted(RECIPES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                private += [(path.name, name) for name in names if name.startswith("promptscope.")]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("promptscope"):
                known = public_names(str(node.module)) if node.module in MODULES else []
                known = [*known, *ps._MODULES] if node.module == "promptscope" else known
                private += [(path.name, node.module, name) for name in names if name not in known]
    assert not private
