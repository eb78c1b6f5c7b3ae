"""Which learning rate? Prompts of some tasks at several rates, scored on records held out of the training split.

    python recipes/attention_and_neurons/pilot.py --preset small --data FOLDER --task sst2 --out pilot

Writes `pilot.csv`: task, variant, learning rate, steps, mean loss of the last tenth of the steps, scores on the
held-out records, with the prompt and of the frozen model. The test split stays unseen. An interrupted pilot goes on.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the folder that holds `recipes`

import pandas as pd

import promptscope as ps
from promptscope.files import write_text
from recipes.attention_and_neurons.scores import main_metric
from recipes.attention_and_neurons.settings import PRESETS, Settings
from recipes.attention_and_neurons.tasks import choose_records, load_tasks
from recipes.attention_and_neurons.training import make_prompt, train_config
from recipes.common import balanced_order, finish
from recipes.common.presets import add_preset_options, chosen_settings


def pilot(
    settings: Settings,
    data: Path | None,
    names: Sequence[str],
    rates: dict[str, Sequence[float]],
    held_out: int,
    out: Path,
    rows: int = 64,
) -> pd.DataFrame:
    """Train a prompt of each variant at each of its *rates* on the tasks *names*; return one line for each."""
    tasks = load_tasks(settings, data)  # before the model: what is missing is said at once
    model = ps.load_model(settings.model, dtype=settings.dtype or None)
    tasks, _ = choose_records(settings, tasks, model)
    lines = []
    for name in names:
        metric, seed = main_metric(tasks[name]), settings.seeds[0]
        task = with_held_out(tasks[name], held_out, seed)
        grid = {
            (variant, rate): ps.GridRun(
                make_prompt(variant, settings, seed, {}),
                task,
                replace(train_config(settings, name, variant, seed), learning_rate=rate),
            )
            for variant, of_variant in rates.items()
            for rate in of_variant
        }
        with ps.execution(matmul=settings.matmul):
            folders = {f"{name}-{variant}-{rate}": run for (variant, rate), run in grid.items()}
            runs = ps.train_grid(model, folders, out, rows_per_pass=rows)
            frozen = ps.evaluate(model, None, task, split="held_out")[metric]
            for (variant, rate), run in zip(grid, runs.values(), strict=True):
                losses = run.history["loss"]
                last = float(losses.tail(max(1, len(losses) // 10)).mean())
                score = ps.evaluate(model, run.prompt, task, split="held_out")[metric]
                lines.append((name, variant, rate, len(losses), last, metric, score, frozen))
                print(*lines[-1], flush=True)
    columns = ["task", "variant", "learning_rate", "steps", "last_loss", "metric", "score", "frozen"]
    return pd.DataFrame(lines, columns=columns)


def with_held_out(task: ps.Task, n: int, seed: int) -> ps.Task:
    """Return the task with *n* training records as split `held_out`, equally many of each label, and no test split.

    Raises:
        TaskError: there are not so many, or none would be left to train on.
    """
    records = balanced_order(task.split("train"), seed)
    if not 0 < n < len(records):
        raise ps.TaskError(
            f"cannot hold out {n} of the {len(records)} training records of task {task.name!r}: --held-out takes 1 to "
            f"{len(records) - 1}"
        )
    # The first n, for at the end is what the commonest label has more of.
    return replace(task, splits={"train": records[n:], "held_out": records[:n]}, source=None)


def main(options: Sequence[str] | None = None) -> int:
    """Run the pilot; return 0 when its table is written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_preset_options(parser, PRESETS, default="small")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="folder with one folder of files for each task")
    parser.add_argument("--task", required=True, nargs="+", help="tasks of the preset")
    parser.add_argument("--v1", type=float, nargs="+", default=[5e-3, 3e-2, 2e-1], metavar="RATE")
    parser.add_argument("--v2", type=float, nargs="+", default=[5e-3, 2e-2, 1e-1], metavar="RATE")
    parser.add_argument(
        "--held-out",
        type=int,
        default=200,
        metavar="N",
        help="number of records of the training split to score, with equally many of each label",
    )
    parser.add_argument("--rows", type=int, default=64, metavar="N", help="records in one forward pass")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    arguments = parser.parse_args(options)
    settings = chosen_settings(arguments, PRESETS)
    if unknown := set(arguments.task) - set(settings.tasks):
        parser.error(f"unknown tasks {sorted(unknown)}: the preset has {', '.join(settings.tasks)}")
    rates = {"v1": arguments.v1, "v2": arguments.v2}

    def work() -> int:
        table = pilot(
            settings, arguments.data, arguments.task, rates, arguments.held_out, arguments.out, rows=arguments.rows
        )
        write_text(arguments.out / "pilot.csv", table.to_csv(index=False, lineterminator="\n"))
        return 0

    return finish(work)


if __name__ == "__main__":
    raise SystemExit(main())
