"""Token splitting: one soft prompt for several models, and which of its tokens belongs to which model.

    python recipes/token_splitting/run.py tables --artifacts FOLDER --out results

`tables` needs no model and no GPU: it reads the folder that the paper's authors published (prompts and result files;
README.md says where to get it), computes their Tables 1-6, 8 and 10-14 anew and sets them beside the printed numbers.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the folder that holds `recipes`

from promptscope.errors import PromptscopeError


def tables(arguments: argparse.Namespace) -> int:
    """Regenerate the paper's tables."""
    # Imported here: torch takes seconds, and --help should not.
    from recipes.token_splitting.regenerate import regenerate

    return regenerate(arguments.artifacts, arguments.out)


def main(options: Sequence[str] | None = None) -> int:
    """Run one subcommand; return 0 when all that the folder holds could be read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "tables",
        help="the paper's tables from the folder its authors published, with a difference column",
        description="Write table_N.csv (row, column, published, computed, difference) for Tables 1-6, 8 and 10-14, "
        "explanations.csv (why a cell differs), absent.csv (what the folder lacks), and analyses the paper does not "
        "have: alignment against its permutation null, importance as a ratio, norms, transfer. Exits with 1 if a file "
        "of the folder was refused; the tables that do not need it are written all the same.",
    )
    command.add_argument("--artifacts", type=Path, required=True, metavar="FOLDER", help="the authors' folder")
    command.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the results go")
    command.set_defaults(run=tables)
    arguments = parser.parse_args(options)
    try:
        return int(arguments.run(arguments))
    except (PromptscopeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
