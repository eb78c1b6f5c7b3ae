"""Which learning rate? Prompts of one task at several rates, scored on records held out of its training split.

    python recipes/attention_and_neurons/pilot.py --preset small --data FOLDER --task sst2 --out pilot

Writes `pilot.csv`: variant, learning rate, mean loss of the last tenth of the steps, scores on the held-out records.
The test split stays unseen.
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
from recipes.common import balanced_order
from recipes.common.presets import add_preset_options, chosen_settings


def pilot(
    settings: Settings, data: Path | None, name: str, rates: dict[str, Sequence[float]], held_out: int, out: Path
) -> pd.DataFrame:
    """Train a prompt of each variant at each of its *rates*; return one line for each."""
    model = ps.load_model(settings.model, dtype=settings.dtype or None)
    tasks, _ = choose_records(settings, load_tasks(settings, data), model)
    records = balanced_order(tasks[name].split("train"), settings.seeds[0])
    splits = {"train": records[:-held_out], "held_out": records[-held_out:]}
    task = replace(tasks[name], splits=splits, source=None)
    metric, seed = main_metric(task), settings.seeds[0]
    rows = []
    for variant, of_variant in rates.items():
        for rate in of_variant:
            config = replace(train_config(settings, name, variant, seed), learning_rate=rate)
            prompt = make_prompt(variant, settings, seed, {})
            run = ps.train(model, prompt, task, config, out=out / f"{name}-{variant}-{rate}")
            losses = run.history["loss"]
            score = ps.evaluate(model, run.prompt, task, split="held_out")[metric]
            rows.append((name, variant, rate, float(losses.tail(max(1, len(losses) // 10)).mean()), metric, score))
            print(*rows[-1], flush=True)
    return pd.DataFrame(rows, columns=["task", "variant", "learning_rate", "last_loss", "metric", "score"])


def main(options: Sequence[str] | None = None) -> int:
    """Run the pilot; return 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_preset_options(parser, PRESETS, default="small")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="folder with one folder of files for each task")
    parser.add_argument("--task", required=True, help="one of the preset's tasks")
    parser.add_argument("--v1", type=float, nargs="+", default=[5e-3, 3e-2, 2e-1], metavar="RATE")
    parser.add_argument("--v2", type=float, nargs="+", default=[5e-3, 2e-2, 1e-1], metavar="RATE")
    parser.add_argument(
        "--held-out",
        type=int,
        default=200,
        metavar="N",
        help="number of records to score, from the end of the training split",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    arguments = parser.parse_args(options)
    settings = chosen_settings(arguments, PRESETS)
    rates = {"v1": arguments.v1, "v2": arguments.v2}
    table = pilot(settings, arguments.data, arguments.task, rates, arguments.held_out, arguments.out)
    write_text(arguments.out / "pilot.csv", table.to_csv(index=False, lineterminator="\n"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
