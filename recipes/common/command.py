"""The command line of every `run.py`: the options that all recipes have, and how errors are shown."""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from promptscope.errors import PromptscopeError
from recipes.common.costs import counted
from recipes.common.presets import add_preset_options


def recipe_parser(doc: str | None, presets: Mapping[str, Any], default: str = "smoke") -> argparse.ArgumentParser:
    """Return a parser with `--preset`, `--set`, `--out` and `--data`; *doc* is the recipe's own text."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_recipe_options(parser, presets, default)
    return parser


def add_recipe_options(parser: argparse.ArgumentParser, presets: Mapping[str, Any], default: str = "smoke") -> None:
    """Give *parser*, or one of its subcommands, the options that all recipes have."""
    add_preset_options(parser, presets, default=default)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder for runs and results")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="FOLDER/NAME holds the files of task NAME; without it, tasks are loaded from the Hub",
    )


def finish(work: Callable[[], int], out: Path | None = None, matmul: str = "float32") -> int:
    """Return what *work* returns; an error of promptscope or of the disk is printed in one line, and 1 is returned.

    Time and memory are added to the costs of the results folder *out*, also after an error. *matmul*: see
    `ps.execution`.
    """
    try:
        if out is None:
            return work()
        from promptscope.engine import execution  # this import takes seconds, and `--help` does not need it

        with counted(out), execution(matmul=matmul):
            return work()
    except (PromptscopeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
