"""What recipes share: what was computed before, splits, tasks, findings, costs."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import promptscope as ps
from promptscope.files import write_text
from promptscope.statistics import mean_interval
from promptscope.tasks import Record
from recipes.common import (
    Computed,
    Number,
    balanced_order,
    computed,
    decided_by,
    drawn,
    grids,
    identity_of,
    judge,
    load_tasks,
    matched,
    over_tasks,
    with_train_and_test,
)
from recipes.common.command import finish
from recipes.common.costs import counted, total
from recipes.common.curves import curve_figure


def counter() -> tuple[list[int], Callable[[], int]]:
    calls: list[int] = []

    def compute() -> int:
        calls.append(1)
        return len(calls)

    return calls, compute


def test_a_value_is_computed_again_when_anything_that_decides_it_is_another(tmp_path: Path) -> None:
    model = ps.load_model("embedded-causal")
    task, prompt = ps.load_task("continent_en"), ps.SoftPrompt(2).bind(model)
    identity = identity_of(model)
    kept = Computed(tmp_path)

    def get(**changes: object) -> int:
        about = {"model": identity, "prompt": prompt, "task": task, "scored": 4} | changes
        return kept.get("one", decided_by(**about), compute)

    calls, compute = counter()
    assert [get(), get()] == [1, 1]
    other = replace(task, splits={**task.splits, "test": task.split("test")[:3]})
    for changes in ({"scored": 5}, {"task": other}, {"prompt": None}, {"prompt": ps.SoftPrompt(2, seed=1).bind(model)}):
        before = len(calls)
        get(**changes)
        assert len(calls) == before + 1, changes


def test_an_edited_weight_outside_the_embedding_is_another_model() -> None:
    """The embedding alone was the key once: a model with other layers got the first one's scores."""
    model = ps.load_model("embedded-causal")
    before = identity_of(model)
    weight = next(p for name, p in model.twin.named_parameters() if "mlp" in name and p.ndim == 2)
    with torch.no_grad():
        weight.mul_(3)
    assert identity_of(model) != before
    assert identity_of(ps.load_model("embedded-causal", dtype="float64")) != before


def test_names_alone_do_not_make_models_equal() -> None:
    task = ps.load_task("continent_en")
    first = decided_by({"a": "1", "b": "2"}, None, task)
    assert first != decided_by({"a": "1", "b": "3"}, None, task)
    assert first != decided_by({"b": "2", "a": "1"}, None, task)  # rows come in the models' order


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"key": "x"}', "change", "surrogate"])
def test_a_damaged_file_is_computed_again(tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    calls, compute = counter()
    kept = Computed(tmp_path)
    kept.get("a/b", {"x": 1}, lambda: [compute(), 0.25])
    path = tmp_path / "a-b.json"
    changed = {"change": "0.75", "surrogate": '"\\ud800"'}.get(damage)
    text = path.read_text().replace("0.25", changed) if changed else damage
    path.write_text(text)
    capsys.readouterr()
    assert kept.get("a/b", {"x": 1}, lambda: [compute(), 0.25]) == [2, 0.25]
    assert len(calls) == 2
    assert capsys.readouterr().out == f"{path} is damaged, so it is computed again\n"
    assert kept.get("a/b", {"x": 2}, lambda: 5) == 5
    assert capsys.readouterr().out == ""  # other settings are no damage


def keep_with_files(folder: Path, name: str = "run") -> tuple[Any, list[int]]:
    """Keep a value that has a file and a folder of files beside it; return it, and the calls that this took."""
    calls = []

    def compute() -> int:
        calls.append(1)
        for path in ("zero/loss.json", "zero/kl.json", "shapley"):
            write_text(folder / path, f"{path} of {folder.name}")
        return 3

    return Computed(folder).get(name, {"x": 1}, compute, files=("zero", "shapley")), calls


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: shutil.rmtree(folder / "zero"),
        lambda folder: (folder / "zero" / "kl.json").unlink(),
        lambda folder: (folder / "shapley").write_text("another"),
        lambda folder: (shutil.rmtree(folder / "zero"), (folder / "zero").write_text("")),
        lambda folder: ((folder / "shapley").unlink(), (folder / "shapley").mkdir()),
        lambda folder: (
            shutil.rmtree(folder / "zero"),
            shutil.copytree(folder.parent / "b" / "zero", folder / "zero"),
        ),
    ],
)
def test_files_that_belong_to_a_value_are_made_again_when_they_are_gone_or_others(
    damage: Callable[[Path], object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        assert keep_with_files(tmp_path / name) == (3, [1])
    assert keep_with_files(tmp_path / "a") == (3, [])
    damage(tmp_path / "a")
    assert keep_with_files(tmp_path / "a") == (3, [1])
    assert f"{tmp_path / 'a' / 'run.json'} or its files are damaged" in capsys.readouterr().out
    assert (tmp_path / "a" / "zero" / "kl.json").read_text() == "zero/kl.json of a"
    (tmp_path / "a" / "zero" / ".DS_Store").write_text("what a system adds is none of them")
    assert keep_with_files(tmp_path / "a") == (3, [])


def test_a_folder_in_place_of_a_value_is_named_before_anything_is_computed(tmp_path: Path) -> None:
    (tmp_path / "scores.json").mkdir()
    calls, compute = counter()
    with pytest.raises(ps.RunError, match=r"scores\.json' is a folder, expected a file"):
        Computed(tmp_path).get("scores", {}, compute)
    assert not calls


def test_lines_of_costs_that_are_damaged_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with counted(tmp_path):
        pass
    path = tmp_path / "calls.jsonl"
    line = path.read_bytes()
    numbers = [
        b'{"seconds": %s, "cpu_seconds": 1, "peak_mb": 2}\n' % value
        for value in (b'"x"', b"NaN", b"Infinity", b"1" * 400)
    ]
    damaged = [line[:20], b"[]\n", *numbers, b"\xff\xfe\n", line[:9]]
    path.write_bytes(b"\n".join(damaged))
    assert total(tmp_path) == {}
    assert f"{path}: 8 lines are damaged" in capsys.readouterr().out
    with counted(tmp_path):
        pass
    assert total(tmp_path)["calls"] == 1  # the damaged last line had no end


def sorted_by_label(n: int = 40) -> ps.Task:
    rows = [{"text": f"film {i}", "label": ("negative", "positive")[i >= n // 2]} for i in range(n)]
    return ps.Task.from_records(rows, name="films", split="train")


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (("train", "test"), {"train": "train", "test": "test"}),
        (("train", "validation"), {"train": "train", "test": "validation"}),
        (("validation", "test"), {"train": "validation", "test": "test"}),
        (("train", "validation", "test"), {"train": "train", "validation": "validation", "test": "test"}),
        (("all", "test"), {"train": "all", "test": "test"}),
    ],
)
def test_there_is_one_split_rule(splits: tuple[str, ...], expected: dict[str, str]) -> None:
    parts = {name: sorted_by_label().split("train")[i * 10 : i * 10 + 10] for i, name in enumerate(splits)}
    task = with_train_and_test(replace(sorted_by_label(), splits=parts))
    assert {name: list(records) for name, records in task.splits.items()} == {
        name: list(parts[of]) for name, of in expected.items()
    }


@pytest.mark.parametrize("only", ["train", "test", "validation", "all"])
def test_a_single_split_is_divided(only: str) -> None:
    records = sorted_by_label().split("train")
    task = with_train_and_test(replace(sorted_by_label(), splits={only: records}), 0.25)
    assert {name: len(part) for name, part in task.splits.items()} == {"train": 30, "test": 10}
    assert {r.id for part in task.splits.values() for r in part} == {r.id for r in records}


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=4).filter(lambda counts: sum(counts) >= 2 * len(counts)))
def test_every_prefix_of_a_balanced_order_is_balanced(counts: list[int]) -> None:
    """No label is more than one ahead of another that still has records: checked by counting."""
    records = [
        Record(f"{label}-{i}", {"text": "x"}, str(label), ()) for label, n in enumerate(counts) for i in range(n)
    ]
    order = balanced_order(records, seed=3)
    assert sorted(r.id for r in order) == sorted(r.id for r in records)
    for n in range(len(order) + 1):
        taken = [sum(r.label == str(label) for r in order[:n]) for label in range(len(counts))]
        open_ = [t for t, of in zip(taken, counts, strict=True) if t < of]
        assert not open_ or max(taken) - min(open_) <= 1
    assert balanced_order(records, seed=3) == order


def test_a_draw_from_a_sorted_data_set_has_both_labels_and_depends_on_its_seed() -> None:
    task = with_train_and_test(sorted_by_label(200))
    sample = drawn(task, seed=1, train=20, test=10)
    for split, n in (("train", 20), ("test", 10)):
        labels = [record.label for record in sample.split(split)]
        assert (labels.count("positive"), labels.count("negative")) == (n // 2, n // 2)
    assert drawn(task, seed=2, train=20).split("train") != sample.split("train")
    first = [record.label for record in task.split("train")[:20]]
    assert set(labels) - set(first) or len(set(first)) == 2


def test_all_that_is_missing_is_said_at_once_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    real = ps.load_task
    monkeypatch.setattr(ps, "load_task", lambda name, *a, **o: (loaded.append(name), real(name, *a, **o))[1])
    with pytest.raises(ps.TaskError, match=r"2 of 3 tasks.*kommongen: .*continent_ne: .*--data FOLDER"):
        load_tasks(["continent_en", "kommongen", "continent_ne"], tmp_path)
    assert "continent_en" not in loaded
    (tmp_path / "kommongen").mkdir()
    rows = [{"concepts": ["a", "b"], "references": ["a b"]}] * 4
    (tmp_path / "kommongen" / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setattr(ps, "load_task", lambda name, path=None, **o: sorted_by_label())
    assert set(load_tasks(["continent_en", "kommongen"], tmp_path)) == {"continent_en", "kommongen"}


NUMBER = Number(0.3, 0.2, 0.4)


@pytest.mark.parametrize(
    ("number", "beyond", "verdict"),
    [
        (NUMBER, None, "holds"),
        (NUMBER, Number(0.2, 0.1, 0.3), "holds"),
        (NUMBER, Number(2.6e-5, -1e-5, 6e-5), "undecided"),
        (NUMBER, Number(-0.2, -0.3, -0.1), "does not hold"),
        (Number(0.3), Number(0.2, 0.1, 0.3), "undecided"),
        (Number(-0.3, -0.4, -0.2), Number(0.2, 0.1, 0.3), "does not hold"),
        (Number(np.nan), Number(0.2, 0.1, 0.3), "not measured"),
        (NUMBER, Number(np.nan), "not measured"),
    ],
)
def test_a_claim_about_training_holds_only_beyond_random_prompts(
    number: Number, beyond: Number | None, verdict: str
) -> None:
    found = judge("c", "4", "sst2", number, "m", null=0.1, beyond=beyond)
    assert found.verdict == verdict
    if beyond is not None and np.isfinite(beyond.value):
        assert found.size == pytest.approx(beyond.value / 0.1)


def test_a_test_that_finds_nothing_takes_the_verdict_back() -> None:
    assert judge("c", "4", "sst2", NUMBER, "m", p_value=0.145).verdict == "undecided"
    assert judge("c", "4", "sst2", NUMBER, "m", p_value=0.01).verdict == "holds"


def test_over_tasks_the_interval_is_students_and_one_large_task_decides_nothing() -> None:
    """Four tasks of which one carries the mean: the case that was once printed as `holds`."""
    values = [0.337, -0.038, -0.007, 0.016]
    found = over_tasks([judge("c", "4", str(v), Number(v, v - 0.01, v + 0.01), "m") for v in values])
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.verdict == "undecided"
    assert "2 holds, 1 undecided, 1 does not hold" in found.meaning
    one = over_tasks([judge("c", "4", "sst2", NUMBER, "m")])
    assert (one.verdict, np.isnan(one.low)) == ("undecided", True)
    trained = [judge("c", "4", str(i), Number(v), "m", v, Number(0.0001 * i)) for i, v in enumerate((0.3, 0.31, 0.32))]
    assert over_tasks(trained).verdict == "undecided"


@pytest.mark.parametrize("value", [0.5, -0.5, 0.1, 0.0])
def test_equal_numbers_have_no_interval_and_decide_nothing(value: float) -> None:
    """Three tasks (seeds, records) with one and the same number: an interval without width read as certainty."""
    by_task = [judge("c", "4", name, Number(value, value - 0.01, value + 0.01), "m") for name in "abc"]
    found = over_tasks(by_task)
    assert (found.verdict, found.number) == ("undecided", pytest.approx(value))
    assert np.isnan([found.low, found.high]).all()
    assert "same number: no interval" in found.meaning
    bootstrapped = judge("c", "4", "a", Number(value, *mean_interval(np.full(20, value))), "m")
    assert (bootstrapped.verdict, np.isnan(bootstrapped.low)) == ("undecided", True)


def test_equal_differences_to_the_null_decide_nothing_either() -> None:
    found = judge("c", "4", "a", NUMBER, "m", 0.1, Number(0.2, 0.2, 0.2))
    assert (found.verdict, found.low, found.beyond) == ("undecided", NUMBER.low, 0.2)
    assert np.isnan([found.beyond_low, found.beyond_high]).all()
    assert "difference to the null" in found.meaning
    nearly = judge("c", "4", "a", NUMBER, "m", 0.1, Number(0.2, 0.199, 0.201))
    assert nearly.verdict == "holds"


def test_a_matched_number_is_shown_as_matched() -> None:
    found = matched(judge("c", "4", "sst2", NUMBER, "m"), "epsilon was chosen for it")
    assert (found.verdict, found.number) == ("matched", 0.3)
    assert "epsilon was chosen for it" in found.meaning


def test_the_running_call_is_part_of_the_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = []

    def work() -> int:
        seen.append(total(tmp_path))
        raise ps.TaskError("nothing to do")

    with counted(tmp_path):
        pass
    assert finish(work, tmp_path) == 1
    assert seen[0]["calls"] == 2 and total(tmp_path)["calls"] == 2
    assert capsys.readouterr().err == "error: nothing to do\n"


def test_processes_that_end_at_once_each_keep_their_line(tmp_path: Path) -> None:
    """The calls of another process end while this one is between reading the file and writing it."""
    children = []
    for _ in range(3):
        if not (child := os.fork()):
            for _ in range(40):
                with counted(tmp_path):
                    pass
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert total(tmp_path)["calls"] == 120


def test_curves_along_names_are_points_in_their_order() -> None:
    """On a numeric axis, as lines are drawn on, names are left out and the figure is empty."""
    table = pd.DataFrame(
        {
            "task": "t",
            "model": "m",
            "start": ["vocab", "uniform", "vocab"],
            "score": [0.5, 0.2, 0.7],
            "length": [1, 5, 9],
        }
    )
    by_name = curve_figure(table, "start", "score", "model", "", "")
    assert by_name.layout.xaxis.type == "category"
    assert (list(by_name.data[0].x), by_name.data[0].mode) == (["vocab", "uniform"], "markers")
    by_number = curve_figure(table, "length", "score", "model", "", "")
    assert (by_number.layout.xaxis.type, by_number.data[0].mode) == ("linear", "lines+markers")
    by_power = curve_figure(table, "length", "score", "model", "", "", log_x=True)
    assert by_power.layout.xaxis.ticktext == ("1", "5", "9")  # and no digits between powers of ten


def test_rounded_products_are_another_models_numbers(monkeypatch):
    """What was computed with bfloat16 products is not returned to who computes in float32."""
    model = ps.load_model("embedded-causal")
    exact = computed.identity_of(model)
    monkeypatch.setattr(computed, "matmul", lambda model: "bf16")
    assert computed.identity_of(model) != exact


def test_rounded_products_do_not_reach_other_processes(monkeypatch, tmp_path):
    monkeypatch.setattr(grids, "matmul", lambda model: "bf16")
    with pytest.raises(ps.RunError, match="--jobs 2 trains in other processes"):
        grids.train_planned(ps.load_model("embedded-causal"), [], tmp_path, jobs=2)


@pytest.mark.parametrize("damage", [lambda folder: (folder / "prompt.json").write_text("{}"), shutil.rmtree])
def test_a_damaged_prompt_is_a_line_of_the_failed_runs(damage, tmp_path):
    """The best prompt's file is needed hours later; neither a crash nor the last prompt takes its place."""
    model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    config = ps.TrainConfig(steps=1, batch_size=2, evaluate_every=1, evaluate_limit=2)

    def planned():
        return [grids.Planned("main", v, "continent_en", 0.01, 0, ps.SoftPrompt(2), task, config) for v in ("a", "b")]

    runs, failed = grids.train_planned(model, planned(), tmp_path)
    assert len(runs) == 2 and failed.empty
    damage(tmp_path / planned()[0].name / "prompts" / "best")
    runs, failed = grids.train_planned(model, planned(), tmp_path)
    assert list(runs) == [planned()[1].name]
    assert failed["run"].tolist() == [planned()[0].name]
