"""Token splitting: one soft prompt for several models, and which of its tokens belongs to which model.

    python recipes/token_splitting/run.py train --preset smoke --out results
    python recipes/token_splitting/run.py train --preset small --data FOLDER --out results
    python recipes/token_splitting/run.py tables --artifacts FOLDER --out results

`train` trains prompts for one and for several masked language models and measures what the paper measures, and more;
FOLDER/NAME holds the files of task NAME, without it, tasks are loaded from the Hub. It can be stopped at any
time, continues where it stopped, and never repeats a finished run.

`tables` needs no model and no GPU: it reads the folder that the paper's authors published (prompts and result files;
README.md says where to get it), computes their Tables 1-6, 8 and 10-14 anew and compares them with the printed numbers.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the folder that holds `recipes`

from recipes.common import add_recipe_options, chosen_settings, finish
from recipes.token_splitting.settings import PRESETS


def tables(arguments: argparse.Namespace) -> int:
    """Regenerate the paper's tables."""
    # Imported here: torch takes seconds, and --help should not.
    from recipes.token_splitting.regenerate import regenerate

    return regenerate(arguments.artifacts, arguments.out)


def train(arguments: argparse.Namespace) -> int:
    """Train prompts, measure them and write the report."""
    settings = chosen_settings(arguments, PRESETS)
    if arguments.models:
        settings = replace(settings, models=tuple(arguments.models))
    if arguments.plan:
        from recipes.common.plans import in_words
        from recipes.token_splitting.plan import plan_table
        from recipes.token_splitting.tasks import load_tasks

        print(in_words(plan_table(settings, load_tasks(settings, arguments.data))))
        return 0
    from recipes.token_splitting.train import train_and_report

    return train_and_report(settings, arguments.out, arguments.data, arguments.in_turn)


def main(options: Sequence[str] | None = None) -> int:
    """Run one subcommand; return 0 when it did all that was asked."""
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
    command.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder for the results")
    command.set_defaults(run=tables)
    command = commands.add_parser(
        "train",
        help="train prompts for one and several models, and measure how they split the tokens",
        description=(
            "Train one prompt for each count of models and seed, measure importance of "
            "tokens, where they are in embedding space, compression, transfer, similarities, "
            "Shapley values and mixtures, and write report.html, a CSV per table and "
            "results.json."
        ),
    )
    add_recipe_options(command, PRESETS)
    command.add_argument(
        "--models", nargs="+", metavar="MODEL", help="names or folders of masked models of one width and tokenizer"
    )
    command.add_argument("--plan", action="store_true", help="check all data, say what would be trained, and stop")
    command.add_argument(
        "--in-turn",
        action="store_true",
        help=(
            "keep two models in memory instead of all: each is read from disk whenever it is "
            "needed, in training at every step"
        ),
    )
    command.set_defaults(run=train)
    arguments = parser.parse_args(options)
    return finish(lambda: int(arguments.run(arguments)), None if getattr(arguments, "plan", False) else arguments.out)


if __name__ == "__main__":
    raise SystemExit(main())
