"""Scores of prompts trained with rounded products, next to those of float32."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import promptscope as ps
from benchmarks.rounded_scores import PRODUCTS, main, markdown, side_by_side
from promptscope.engine.settings import asked


def test_a_score_outside_the_others_interval_is_not_agreement() -> None:
    columns = ["task", "seed", "products", "frozen", "score", "low", "high", "n"]
    rows = [
        ("a", 0, "float32", 0.1, 0.50, 0.4, 0.6, 9),
        ("a", 0, "bf16", 0.1, 0.55, 0.45, 0.65, 9),
        ("a", 1, "float32", 0.1, 0.50, 0.4, 0.6, 9),
        ("a", 1, "bf16", 0.1, 0.61, 0.45, 0.7, 9),  # above what float32 allows
        ("b", 0, "float32", 0.1, 0.50, 0.4, 0.7, 9),
        ("b", 0, "bf16", 0.1, 0.65, 0.6, 0.7, 9),  # float32 is below what bf16 allows
    ]
    assert side_by_side(pd.DataFrame(rows, columns=columns))["agree"].tolist() == [True, False, False]


def test_both_kinds_are_trained_and_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.rounded_scores.PRODUCTS", ("float32", "float32"))
    # Not every processor multiplies in bfloat16: here the same twice, to see that nothing but the products differs.
    monkeypatch.setattr("benchmarks.rounded_scores.side_by_side", lambda table: table.assign(agree=True))
    monkeypatch.setattr("benchmarks.rounded_scores.markdown", str)
    arguments = ["--model", "embedded-causal", "--tasks", "continent_en", "--seeds", "3", "--steps", "2"]
    assert main([*arguments, "--scored", "5", "--out", str(tmp_path / "r.json")]) == 0
    runs = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["runs"]
    assert [run["n"] for run in runs] == [5, 5] and len({run["score"] for run in runs}) == 1
    assert PRODUCTS == ("float32", "bf16")


def test_the_page_of_speeds_shows_the_kept_scores() -> None:
    root = Path(__file__).parents[2]
    runs = json.loads((root / "benchmarks/results/rounded-scores.json").read_text(encoding="utf-8"))["runs"]
    assert len(runs) == 9
    assert markdown(pd.DataFrame(runs)) in (root / "docs/speed.md").read_text(encoding="utf-8")
    assert "| no |" in markdown(pd.DataFrame([runs[0] | {"agree": False}]))


@pytest.mark.parametrize("right", [3, 20])
def test_each_run_has_its_seed_and_products_and_is_scored_in_float32(
    right: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 20 answers, 1 is right without a prompt, 3 with one of float32, *right* with one of rounded products."""
    trained = []

    def train(model: Any, prompt: ps.Prompt, task: ps.Task, config: ps.TrainConfig) -> Any:
        trained.append((asked().matmul, prompt.seed, config.seed))
        return SimpleNamespace(prompt=asked().matmul)

    def predict(model: Any, prompt: str | None, task: ps.Task, progress: bool) -> list[str]:
        assert asked().matmul is None
        labels = [str(record.label) for record in task.split("test")]
        n = {None: 1, "float32": 3, "bf16": right}[prompt]
        return labels[:n] + ["something else"] * (len(labels) - n)

    for name, stub in {"train": train, "predict": predict, "load_model": lambda name: None}.items():
        monkeypatch.setattr(ps, name, stub)
    options = ["--tasks", "continent_en", "--seeds", "0", "1", "--scored", "20", "--out", str(tmp_path / "r.json")]
    assert main(["--model", "none", *options]) == (0 if right == 3 else 1)
    assert trained == [("float32", 0, 0), ("bf16", 0, 0), ("float32", 1, 1), ("bf16", 1, 1)]
    for run in json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["runs"]:
        found = run["frozen"], run["float32 score"], run["bf16 score"]
        assert found == pytest.approx((1 / 20, 3 / 20, right / 20)) and run["n"] == 20
