"""Findings by causal accounts: is a tuned prompt one direction, and through which heads does it act?

    python recipes/causal_accounts/run.py --preset embedded --out accounts
    python recipes/causal_accounts/run.py --preset small --model HuggingFaceTB/SmolLM2-135M --data DATA --out accounts

Trains prompts of two kinds (v1: embeddings; v2: keys and values) and three seeds on three tasks, makes a causal account
of each, and writes tables and `findings.md`, whose sentences follow from the tables. An interrupted run continues
where it stopped; `--so-far` writes what is finished, and says how much that is.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the folder that holds `recipes`

import promptscope as ps
from promptscope.files import write_text
from recipes.causal_accounts.settings import PRESETS
from recipes.causal_accounts.study import cells, measured
from recipes.causal_accounts.tables import all_tables
from recipes.causal_accounts.written import findings_page
from recipes.common import Results
from recipes.common.command import finish, recipe_parser
from recipes.common.costs import cost
from recipes.common.presets import chosen_settings
from recipes.common.tasks import load_tasks


def main() -> int:
    """Train, measure, write."""
    parser = recipe_parser(__doc__, PRESETS)
    parser.add_argument("--model", default="embedded-causal", help="name or folder; default: embedded-causal")
    parser.add_argument(
        "--so-far",
        action="store_true",
        help="measure nothing; write the tables and the page of the prompts that are finished",
    )
    parser.add_argument("--note", default="", help="a note about the model, which is printed on the page")
    arguments = parser.parse_args()
    study = chosen_settings(arguments, PRESETS)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)

    def work() -> int:
        folders = {cell: out / "accounts" / cell.name for cell in cells(study)}
        if not arguments.so_far:
            tasks = load_tasks(study.tasks, arguments.data)
            folders = dict(measured(ps.load_model(arguments.model), tasks, study, out))
        finished = {cell: folder for cell, folder in folders.items() if (folder / "decided_by.json").is_file()}
        if not finished:
            raise ps.RunError(f"{out} has no finished account yet: run this without --so-far first")
        tables = all_tables(finished)
        results = Results(out, recipe="causal_accounts", settings=study)
        for name, table in tables.items():
            results.table(name, table)
        done = {"model": Path(arguments.model).name, "finished": len(finished), "planned": len(cells(study))}
        results.finish(done | {"note": arguments.note, "cost": cost(out)})
        text = findings_page(out)
        write_text(out / "findings.md", text)
        print(text)
        return 0

    return finish(work, out)


if __name__ == "__main__":
    raise SystemExit(main())
