"""The study's tables and sentences on made-up accounts; the whole recipe once, small; pages are what the tables say."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from recipes.causal_accounts import study
from recipes.causal_accounts.permuted import same_task_test
from recipes.causal_accounts.settings import Study
from recipes.causal_accounts.study import Cell
from recipes.causal_accounts.tables import direction, overlaps
from recipes.causal_accounts.written import findings_page, said_of_directions, said_of_swaps
from tests.training.toy import toy_model, toy_task

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "causal_accounts"
KEPT = sorted(path.parent for path in RECIPE.glob("results/*/results.json"))


def grouped(rows):
    table = pd.DataFrame(rows, columns=["task", "group", "other_task", "other_group", "common"])
    return same_task_test(table)


def test_tasks_that_decide_the_heads_are_found_by_the_permutations():
    tasks = "abc"
    groups = ["v1 0", "v1 1", "v2 0"]
    rows = [
        (one, g, two, h, 9 if one == two else 2)
        for i, g in enumerate(groups) for h in groups[i + 1 :] for one in tasks for two in tasks
    ]  # fmt: skip
    one, two, p = grouped(rows)
    # Of 6 x 6 orders of the other two groups, one leaves every pair as it is.
    assert (one, two, p) == (9, 2, pytest.approx(1 / 36))
    assert grouped([(a, g, b, h, 5) for a, g, b, h, _ in rows])[2] == 1.0


def test_top_heads_in_common_have_the_hypergeometric_null():
    heads = {Cell("a", "v1", 0): (frozenset({0, 1, 2}), 9), Cell("a", "v2", 0): (frozenset({1, 2, 3}), 9)}
    row = overlaps(heads).iloc[0]
    assert (row["common"], row["expected"]) == (2, 1.0)
    # Two or three of three: (C(3,2) C(6,1) + 1) / C(9,3)
    assert row["p_value"] == pytest.approx(19 / 84)


def test_nulls_choose_their_layer_as_the_direction_does(tmp_path):
    rows = [
        *(("rank 1", layer, share, share - 0.1, share + 0.1) for layer, share in enumerate((0.2, 0.7, 1.0))),
        *(("random prompt", layer, share, share - 0.1, share + 0.1) for layer, share in enumerate((0.4, 0.1, 1.0))),
    ]
    table = pd.DataFrame(rows, columns=["shift", "layer", "value", "low", "high"])
    table.to_csv(tmp_path / "direction-shift.csv", index=False)
    (row,) = direction(tmp_path)
    assert (row["layer"], row["share"], row["random_prompt"]) == (1, 0.7, 0.4)
    # A null without any defined share (here: other tasks' shifts that could not be measured) is left out.
    other = table[table["shift"] == "random prompt"].assign(shift="another task", value=float("nan"))
    pd.concat([table, other]).to_csv(tmp_path / "direction-shift.csv", index=False)
    assert direction(tmp_path) == [row]
    table["value"] = float("nan")
    table.to_csv(tmp_path / "direction-shift.csv", index=False)
    assert direction(tmp_path) == []


@pytest.mark.parametrize(
    ("low", "verdict"),
    [(0.85, "is, for the most part, one direction"), (0.4, "not all of it"), (0.1, "not recover clearly more")],
)
def test_the_verdict_on_directions_follows_from_the_intervals(low, verdict):
    table = pd.DataFrame({"task": ["t"] * 3, "kind": ["v1"] * 3, "share": [0.9] * 3, "low": [low] * 3,
                          "random_prompt": [0.2] * 3, "random_direction": [0.0] * 3})  # fmt: skip
    said, _ = said_of_directions(table, n_all=4)
    assert verdict in said[0] and "too small" in said[1]


def test_the_verdict_on_keys_and_values_needs_intervals_apart():
    table = pd.DataFrame({"task": ["t"], "kind": ["v2"], "keys": [0.3], "keys_low": [0.2], "keys_high": [0.4],
                          "values": [0.6], "values_low": [0.5], "values_high": [0.7]})  # fmt: skip
    assert "values store it" in said_of_swaps(table)[0][0]
    assert "no rule follows" in said_of_swaps(table.assign(values_low=0.3))[0][0]


@pytest.mark.parametrize("folder", KEPT, ids=lambda path: path.name)
def test_the_page_is_what_the_kept_tables_say(folder):
    page = ROOT / "docs" / "findings" / f"accounts-{folder.name}.md"
    assert page.read_text(encoding="utf-8") == findings_page(folder), "run recipes/causal_accounts/written.py"


@pytest.mark.slow
def test_the_recipe_goes_on_where_it_was(tmp_path):
    command = [sys.executable, str(RECIPE / "run.py"), "--preset", "smoke", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    first = {path: path.stat().st_mtime_ns for path in tmp_path.glob("accounts/*/account.json")}
    assert len(first) == 4
    (tmp_path / "accounts" / "capital_en_v2_0" / "decided_by.json").unlink()  # as if it had been killed there
    so_far = subprocess.run([*command, "--so-far"], check=True, capture_output=True, text=True)
    assert "**3 of 4 prompts are measured here**: the rest was not run" in so_far.stdout
    subprocess.run(command, check=True, capture_output=True)
    again = {path: path.stat().st_mtime_ns for path in first}
    assert [path.parent.name for path in first if again[path] != first[path]] == ["capital_en_v2_0"]
    assert json.loads((tmp_path / "results.json").read_text())["finished"] == 4


@pytest.mark.parametrize("change", ["nothing", "weights", "records", "file"])
def test_an_account_is_kept_for_the_same_weights_and_records_only(change, tmp_path, monkeypatch):
    model, task = toy_model("gpt2"), toy_task()
    settings = Study(tasks=("toy",), kinds=("v1",), seeds=1, rates=(0.1,), steps=1, length=2, train_batch=2)
    made = []

    class Made:
        def __init__(self):
            self.parts = {}

        def save(self, folder):
            Path(folder).mkdir(parents=True, exist_ok=True)

        def page(self):
            return self

        def write(self, path):
            made.append(path)

    monkeypatch.setattr(study.ps, "explain", lambda *arguments, **options: Made())
    list(study.measured(model, {"toy": task}, settings, tmp_path))
    weight = model.twin.transformer.h[0].mlp.c_fc.weight
    if change == "weights":
        with torch.no_grad():
            weight.mul_(2)
    elif change == "records":
        task = toy_task(n=8)
    elif change == "file":
        (tmp_path / "accounts" / "toy_v1_0" / "decided_by.json").write_text("{")
    shutil.rmtree(tmp_path / "runs")
    list(study.measured(model, {"toy": task}, settings, tmp_path))
    if change == "weights":
        with torch.no_grad():
            weight.div_(2)
    assert len(made) == (1 if change == "nothing" else 2)
