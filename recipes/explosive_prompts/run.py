"""Explosive prompts: reparameterised prompts, large norms, one broadcast vector (EPT), compared with plain prompts.

    python recipes/explosive_prompts/run.py --preset smoke --out results
    python recipes/explosive_prompts/run.py --preset small --out results

Trains the paper's methods and ablations, computes its tables and figures with the printed numbers, and judges its
claims, with plain prompts at the same norms as control. Kill it whenever you like: it goes on where it stopped.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the folder that holds `recipes`

from recipes.common import chosen_settings, finish, recipe_parser
from recipes.explosive_prompts.regenerate import regenerate
from recipes.explosive_prompts.settings import PRESETS


def main(options: Sequence[str] | None = None) -> int:
    """Run the recipe; return 0 when all runs are finished and the report is written."""
    parser = recipe_parser(__doc__, PRESETS)
    parser.add_argument("--rows", type=int, default=64, metavar="N", help="records per pass over the model")
    parser.add_argument(
        "--jobs", type=int, default=0, metavar="N", help="train in N processes with a model each; default: all over one"
    )
    arguments = parser.parse_args(options)
    settings = chosen_settings(arguments, PRESETS)

    def work() -> int:
        return regenerate(settings, arguments.out, arguments.data, arguments.rows, arguments.jobs)

    return finish(work, arguments.out, settings.matmul)


if __name__ == "__main__":
    raise SystemExit(main())
