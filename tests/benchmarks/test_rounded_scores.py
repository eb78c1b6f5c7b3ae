"""Scores of prompts trained with rounded products, next to those of float32."""

import json
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.rounded_scores import PRODUCTS, main, side_by_side


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
    arguments = ["--model", "embedded-causal", "--tasks", "continent_en", "--seeds", "3", "--steps", "2"]
    assert main([*arguments, "--scored", "5", "--out", str(tmp_path / "r.json")]) == 0
    runs = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["runs"]
    assert [run["n"] for run in runs] == [5, 5] and len({run["score"] for run in runs}) == 1
    assert PRODUCTS == ("float32", "bf16")
