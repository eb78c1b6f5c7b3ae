"""Prompt geometry: where soft prompts lie in embedding space, by task, by initial word, by position.

    python recipes/prompt_geometry/run.py --preset smoke --out results
    python recipes/prompt_geometry/run.py --preset small --data FOLDER --out results

Trains one prompt for each task and initial word, computes the paper's tables and figures from the
prompts, with the printed numbers, tests its claims, and reads prompts and their nulls in language. FOLDER holds the
function-vector tasks (README.md says where to get them). It can be stopped at any time, and continues where it stopped.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the folder that holds `recipes`

from recipes.common import chosen_settings, finish, recipe_parser
from recipes.common.plans import in_words
from recipes.prompt_geometry.grid import load_tasks
from recipes.prompt_geometry.plan import plan_table
from recipes.prompt_geometry.regenerate import regenerate
from recipes.prompt_geometry.settings import PRESETS, as_the_code


def main(options: Sequence[str] | None = None) -> int:
    """Run the recipe; return 0 when all runs of the grid are finished and the report is written."""
    parser = recipe_parser(__doc__, PRESETS)
    parser.add_argument(
        "--paper-code",
        action="store_true",
        help=(
            "do what the authors' code does where their text says something else: pad on the left, "
            "count self-pairs, Table 3 with epsilon 0.5 (--set padding=right keeps the runs of "
            "another call)"
        ),
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=0,
        metavar="N",
        help=(
            "train in N processes, each with its own copy of the model; by default all prompts are "
            "trained together over one model"
        ),
    )
    parser.add_argument("--rows", type=int, default=64, metavar="N", help="records in one forward pass")
    parser.add_argument("--plan", action="store_true", help="check all data, say what would be trained, and stop")
    arguments = parser.parse_args(options)
    presets = {name: as_the_code(preset) for name, preset in PRESETS.items()} if arguments.paper_code else PRESETS
    settings = chosen_settings(arguments, presets)

    def work() -> int:
        if arguments.plan:
            print(in_words(plan_table(settings, load_tasks(settings, arguments.data))))
            return 0
        return regenerate(settings, arguments.out, arguments.data, arguments.jobs, arguments.rows)

    return finish(work, None if arguments.plan else arguments.out, settings.matmul)


if __name__ == "__main__":
    raise SystemExit(main())
