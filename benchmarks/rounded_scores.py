"""Do prompts that were trained with bfloat16 products score as well as those trained in float32?

    python -m benchmarks.rounded_scores --model MODEL --data FOLDER --tasks sst2 present-past --out rounded.json

Trains a v1 prompt for every task and seed, once in float32 and once under `ps.execution(matmul="bf16")`, and scores
both in float32 on the same test records. `FOLDER/NAME` holds the files of task NAME (`train.jsonl`, `test.jsonl`).
Prints a line per run and writes them to OUT; the exit code is 1 if a score lies outside the other's interval.
"""

import argparse
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

import promptscope as ps
from benchmarks.hardware import describe
from promptscope.files import write_json
from promptscope.statistics import mean_interval

PRODUCTS = ("float32", "bf16")


def score_both(
    model: ps.HookedModel, tasks: Mapping[str, ps.Task], seeds: Sequence[int], length: int, config: ps.TrainConfig
) -> pd.DataFrame:
    """Return for each task, seed and precision of the products the share of correct answers, with its interval.

    `low`, `high`: 95 % bootstrap interval over the records. `frozen` is the model's own score without a prompt.
    """
    rows = []
    for name, task in tasks.items():
        frozen = _right(model, None, task).mean()
        for seed in seeds:
            for products in PRODUCTS:
                with ps.execution(matmul=products):
                    run = ps.train(model, ps.SoftPrompt(length, seed=seed), task, replace(config, seed=seed))
                right = _right(model, run.prompt, task)
                low, high = (float(end) for end in mean_interval(right))
                score = float(right.mean())
                rows.append((name, seed, products, float(frozen), score, low, high, len(right)))
                print(f"{name}, seed {seed}, {products}: {score:.3f} [{low:.3f}-{high:.3f}]", flush=True)
    return pd.DataFrame(rows, columns=["task", "seed", "products", "frozen", "score", "low", "high", "n"])


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each task and seed: both scores, their intervals, and whether each lies in the other's.

    >>> rows = [("a", 0, "float32", 0.1, 0.50, 0.4, 0.6, 9), ("a", 0, "bf16", 0.1, 0.55, 0.52, 0.58, 9)]
    >>> columns = ["task", "seed", "products", "frozen", "score", "low", "high", "n"]
    >>> side_by_side(pd.DataFrame(rows, columns=columns))["agree"].tolist()
    [False]
    """
    wide = table.pivot(index=["task", "seed", "frozen", "n"], columns="products", values=["score", "low", "high"])
    wide.columns = [f"{products} {number}" for number, products in wide.columns]
    wide = wide.reset_index()
    inside = [
        wide[f"{one} score"].between(wide[f"{other} low"], wide[f"{other} high"])
        for one, other in (PRODUCTS, PRODUCTS[::-1])
    ]
    return wide.assign(agree=inside[0] & inside[1])


def markdown(table: pd.DataFrame) -> str:
    """Return what `side_by_side` found as a table of Markdown."""
    lines = ["| task | seed | frozen | float32 | bf16 | each in the other's interval |", "|" + " --- |" * 6]
    for row in table.to_dict("records"):
        scores = [f"{row[p + ' score']:.2f} [{row[p + ' low']:.2f}-{row[p + ' high']:.2f}]" for p in PRODUCTS]
        agree = "yes" if row["agree"] else "no"
        lines.append("| " + " | ".join([row["task"], str(row["seed"]), f"{row['frozen']:.2f}", *scores, agree]) + " |")
    return "\n".join(lines)


def _right(model: ps.HookedModel, prompt: ps.Prompt | None, task: ps.Task) -> np.ndarray:
    found = ps.predict(model, prompt, task, progress=False)
    pairs = zip(found, task.split("test"), strict=True)
    return np.array([float(text.strip() == str(record.label).strip()) for text, record in pairs])


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, score, print, write; return 1 if a score lies outside the other's interval."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a folder, a Hub id, or an embedded model")
    parser.add_argument("--data", type=Path, help="folder of the tasks' folders; without it, embedded tasks")
    parser.add_argument("--tasks", nargs="+", required=True, metavar="NAME", help="tasks")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="default 0 1 2")
    parser.add_argument("--length", type=int, default=8, metavar="K", help="prompt positions (default %(default)s)")
    parser.add_argument("--steps", type=int, default=100, metavar="N", help="training steps (default %(default)s)")
    parser.add_argument("--rate", type=float, default=0.02, help="learning rate (default %(default)s)")
    parser.add_argument("--scored", type=int, default=100, metavar="N", help="test records (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("rounded_scores.json"), help="results (default %(default)s)")
    options = parser.parse_args(arguments)
    model = ps.load_model(options.model)
    tasks = {name: _task(name, options.data, options.scored) for name in options.tasks}
    config = ps.TrainConfig(
        steps=options.steps, batch_size=8, learning_rate=options.rate, checkpoint_every=options.steps
    )
    table = side_by_side(score_both(model, tasks, options.seeds, options.length, config))
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
    write_json(options.out, {"settings": settings, "hardware": describe("cpu"), "runs": table.to_dict("records")})
    print(markdown(table))
    return 0 if table["agree"].all() else 1


def _task(name: str, data: Path | None, scored: int) -> ps.Task:
    """Return the task with *scored* test records, drawn with a fixed seed: files are often sorted."""
    task = ps.load_task(name if data is None else data / name)
    records = task.split("test")
    drawn = random.Random(0).sample(records, min(scored, len(records)))
    return replace(task, splits={**task.splits, "test": tuple(drawn)}, source=None)


if __name__ == "__main__":
    sys.exit(main())
