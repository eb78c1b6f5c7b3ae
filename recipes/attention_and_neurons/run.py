"""Attention and neurons: what prompt tuning v1 and v2 change inside a language model.

    python recipes/attention_and_neurons/run.py --preset smoke --out results
    python recipes/attention_and_neurons/run.py --preset small --data FOLDER --out results
    python recipes/attention_and_neurons/run.py --preset paper --data FOLDER --out results --plan

Trains a v1 and a v2 prompt for every task, probes attention, neurons, label space and geometry in one pass over one
store, trains deep prompts in chosen layers, and writes every table and figure of the paper with its printed numbers,
with a verdict on its seven observations. FOLDER/NAME holds the files of task NAME; without it, tasks are loaded from
the Hub. It can be stopped at any time, and continues where it stopped.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the folder that holds `recipes`

from recipes.attention_and_neurons.settings import PRESETS
from recipes.common import chosen_settings, finish, recipe_parser


def main(options: Sequence[str] | None = None) -> int:
    """Run the recipe; return 0 when the report is written."""
    parser = recipe_parser(__doc__, PRESETS)
    parser.add_argument("--rows", type=int, default=64, metavar="N", help="records in one forward pass")
    parser.add_argument("--plan", action="store_true", help="check all data, print what would be trained, and stop")
    arguments = parser.parse_args(options)
    settings = chosen_settings(arguments, PRESETS)

    def work() -> int:
        if arguments.plan:
            from recipes.attention_and_neurons.plan import describe_plan, plan_table
            from recipes.attention_and_neurons.tasks import load_tasks

            print(describe_plan(plan_table(settings, load_tasks(settings, arguments.data))))
            return 0
        from recipes.attention_and_neurons.regenerate import regenerate  # imports all of the recipe

        return regenerate(settings, arguments.out, arguments.data, arguments.rows)

    return finish(work, None if arguments.plan else arguments.out, settings.matmul)


if __name__ == "__main__":
    raise SystemExit(main())
