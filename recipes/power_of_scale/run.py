"""The power of scale: the ablations of the original prompt tuning, on models of this machine or of the Hub.

    python recipes/power_of_scale/run.py --preset smoke --out results
    python recipes/power_of_scale/run.py --preset small --out results

Trains prompts by length, initialisation and objective, reads them and random vectors, votes with several, moves
them to other data, and judges the paper's claims. It can be stopped at any time, and continues where it stopped.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the folder that holds `recipes`

from recipes.common import chosen_settings, finish, recipe_parser
from recipes.power_of_scale.regenerate import regenerate
from recipes.power_of_scale.settings import PRESETS


def main(options: Sequence[str] | None = None) -> int:
    """Run the recipe; return 0 when all runs are finished and the report is written."""
    parser = recipe_parser(__doc__, PRESETS)
    parser.add_argument("--rows", type=int, default=64, metavar="N", help="records in one forward pass")
    parser.add_argument(
        "--jobs",
        type=int,
        default=0,
        metavar="N",
        help=(
            "train in N processes, each with its own copy of the model; by default all "
            "prompts are trained together over one model"
        ),
    )
    arguments = parser.parse_args(options)
    settings = chosen_settings(arguments, PRESETS)

    def work() -> int:
        return regenerate(settings, arguments.out, arguments.data, arguments.rows, arguments.jobs)

    return finish(work, arguments.out, settings.matmul)


if __name__ == "__main__":
    raise SystemExit(main())
