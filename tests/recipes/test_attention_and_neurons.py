"""The recipe from end to end on the embedded model, and its observations on results whose answer is known."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from scipy.signal import find_peaks
from scipy.stats import t as student
from sklearn.metrics import f1_score

import promptscope as ps
from promptscope.probes import ProbeResult, correlate, on_scores, prompt_pca
from promptscope.tasks import Record
from recipes.attention_and_neurons import observations, page, pilot
from recipes.attention_and_neurons.generated import as_labels, score_labels, written
from recipes.attention_and_neurons.over_inputs import (
    Compared,
    difference_of_scores,
    share_of_the_middle,
    variability_above_the_lowest,
)
from recipes.attention_and_neurons.paper_tables import table_2, table_7
from recipes.attention_and_neurons.regenerate import PUBLISHED
from recipes.attention_and_neurons.run import main
from recipes.attention_and_neurons.scores import scored_by as scores_by
from recipes.attention_and_neurons.settings import KNOWN, PAPER_PEAKS, PAPER_TASKS, PAPER_TROUGHS, PRESETS, Settings
from recipes.attention_and_neurons.tasks import choose_records, load_tasks
from recipes.attention_and_neurons.training import make_prompt, train_config
from recipes.common import Number, balanced_order, read_published
from recipes.common.costs import counted, total
from recipes.common.findings import VERDICTS
from tests.report.test_report import Page

SMALLER = ["--set", "steps=2", "batch_size=4", "scored=8", "probed=8"]
FIGURES = {f"figure_{number}" for number in range(1, 16)}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preset `smoke` with fewer steps and inputs: everything once."""
    folder = tmp_path_factory.mktemp("recipe")
    assert main(["--out", str(folder), *SMALLER]) == 0
    return folder


def test_every_figure_and_table_is_there(out: Path) -> None:
    about = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert {path.stem for path in (out / "figures").glob("*.html")} >= FIGURES
    assert set(about["files"]) <= {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {"table_2.csv", "table_7.csv", "observations.csv", "ablation.csv", "report.html"} <= set(about["files"])
    assert about["settings"]["tasks"] == list(PRESETS["smoke"].tasks)
    assert about["cost"]["calls"] >= 1 and about["cost"]["peak_mb"] > 100
    assert {"versions", "hardware", "model", "groups", "training_seconds"} <= set(about)
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    for name in FIGURES:
        assert name.replace("_", " ").capitalize() in page.text


def test_numbers_have_their_nulls_beside_them(out: Path) -> None:
    scores = pd.read_csv(out / "scores.csv")
    expected = {"frozen", *(f"{null}{name}" for null in ("", "random ") for name in ("v1", "v2", "peak", "trough"))}
    for task, of_task in scores.groupby("task"):
        assert set(of_task["variant"]) == expected, task
    assert set(pd.read_csv(out / "figure_5.csv")["prompt"]) == {"v1", "v2", "random v1", "random v2"}
    ablation = pd.read_csv(out / "ablation.csv")
    assert list(ablation.columns) == ["task", "none", "trough", "peak", "all"]
    first = {task: ps.load_task(task).metrics[0] for task in PRESETS["smoke"].tasks}
    assert set(scores["by"]) == {"likelihood", "generated"}
    likeliest = scores_by(scores, "likelihood")
    v2 = likeliest[(likeliest["variant"] == "v2") & (likeliest["metric"] == likeliest["task"].map(first))]
    v2 = v2.set_index("task")
    np.testing.assert_allclose(ablation.set_index("task")["all"], 100 * v2["score"].loc[ablation["task"]])


def test_both_ways_to_answer_are_scored_and_the_paper_s_tables_are_of_written_words(out: Path) -> None:
    scores = pd.read_csv(out / "scores.csv")
    assert set(scores[scores["task"] == "capital_en"]["by"]) == {"generated"}
    assert set(scores[scores["task"] == "continent_en"]["by"]) == {"likelihood", "generated"}
    cells = pd.read_csv(out / "table_7.csv").set_index(["row", "column"])["computed"]
    of_v1 = scores[(scores["task"] == "continent_en") & (scores["variant"] == "v1") & (scores["by"] == "generated")]
    of_v1 = of_v1.set_index("metric")["score"]
    assert cells["continent_en", "v1"] == pytest.approx(100 * of_v1["accuracy"], abs=0.005)
    assert 0 <= of_v1["no_label"] <= 1


def test_written_answers_that_are_no_label_are_wrong_and_no_class_of_their_own() -> None:
    rows = [{"text": f"film {i}", "label": label} for i, label in enumerate(["yes", "no", "yes", "no"])]
    words = {"yes": " good", "no": " bad"}
    task = ps.Task.from_records(rows, verbalizer=words, metric="macro_f1", split="test")
    free = written(task)
    assert free.kind == "generation" and [record.label.strip() for record in free.split("test")] == ["good", "bad"] * 2
    labels = as_labels(task, ["good", " bad", "goodness", ""])
    assert labels == ["yes", "no", "(no label)", "(no label)"]
    scores = score_labels(task, labels)
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)  # each: one right, one missed, none wrongly given
    assert scores["no_label"] == 0.5
    assert score_labels(task, ["yes", "no", "yes", "no"]) == {"macro_f1": 1.0, "no_label": 0.0}


def test_figure_4_counts_the_inputs_of_the_tasks_that_it_shows(out: Path) -> None:
    """Four of the five tasks, 8 inputs each."""
    page = (out / "figures" / "figure_4.html").read_text(encoding="utf-8")
    assert "32 inputs" in page and "60 inputs" not in page


def test_a_plan_trains_nothing_and_says_what_the_parts_of_paper_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = films(tmp_path, {"sst2": "train", "nsmc": "train"})
    out = tmp_path / "results"
    assert main(["--preset", "paper-sa", "--data", str(data), "--out", str(out), "--plan"]) == 0
    said = capsys.readouterr().out
    # 8 records in batches of 32: a step an epoch, 20 epochs, v1, v2, peak and trough of two tasks
    assert "8 runs, 160 steps, 5,120 texts" in said
    assert not out.exists()
    parts = [name for name in PRESETS if name.startswith("paper-")]
    assert sorted(task for part in parts for task in PRESETS[part].tasks) == sorted(PAPER_TASKS)


def test_all_data_are_asked_for_before_anything_is_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = films(tmp_path, {name: "train" for name in PAPER_TASKS if name != "kommongen"})
    assert main(["--preset", "paper", "--data", str(data), "--out", str(tmp_path / "results")]) == 1
    said = capsys.readouterr().err
    assert "kommongen" in said and "--data" in said and "1 of 12" in said


def test_turns_of_the_curves_are_scipys(out: Path) -> None:
    curves = pd.read_csv(out / "figure_5.csv")
    turns = pd.read_csv(out / "figure_5_turns.csv", dtype=str, keep_default_na=False)
    assert set(turns[turns["prompt"] == "v2"]["published"].str[:4]) == {"1 7 ", "2 8 "}
    for row in turns.itertuples(index=False):
        curve = curves[(curves["prompt"] == row.prompt) & (curves["group"] == row.language)].sort_values("layer")[
            "value"
        ]
        expected = find_peaks(curve if row.turns == "peaks" else -curve)[0]
        assert row.computed == " ".join(map(str, expected))


def test_random_prompts_of_two_tasks_are_as_far_apart_as_random_vectors(out: Path) -> None:
    """One seed for all tasks would give them the same directions, and an ON score of 1."""
    scores = pd.read_csv(out / "figure_7.csv")
    last = scores[(scores["prompt"] == "random v1") & (scores["layer"] == scores["layer"].max())]["value"]
    assert (last < 0.999).all()


def test_groups_of_layers_are_the_runs_own(out: Path) -> None:
    groups = json.loads((out / "results.json").read_text(encoding="utf-8"))["groups"]
    for name, layers in groups.items():
        run = ps.load_prompt(next((out / "runs" / "ablation").glob(f"continent_en-{name}-*")) / "prompts" / "last")
        assert isinstance(run, ps.DeepPrompt)
        assert run.layers == tuple(layers)
        assert run.tied


@pytest.mark.slow
def test_a_second_call_trains_nothing_and_runs_no_pass(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loading the model tests itself with a few passes; after that no module may run."""
    before = {path.name: path.read_bytes() for path in out.glob("*.csv")}
    calls, call = 0, torch.nn.Module._call_impl

    def counted(module: torch.nn.Module, *args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        return call(module, *args, **options)

    model = ps.load_model("embedded-causal")
    monkeypatch.setattr(ps, "load_model", lambda *_, **__: model)
    monkeypatch.setattr(torch.nn.Module, "_call_impl", counted)  # a hook would make it another model
    assert main(["--out", str(out), *SMALLER]) == 0
    assert calls == 0
    ps.evaluate(model, None, ps.load_task("continent_en"), limit=2, progress=False)
    assert calls > 0  # the counter counts
    assert "score " not in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in out.glob("*.csv")} == before


def test_what_a_call_cost_is_kept_even_if_it_breaks_off(tmp_path: Path) -> None:
    assert total(tmp_path) == {}
    with counted(tmp_path):
        sum(range(10**6))
    with pytest.raises(KeyboardInterrupt), counted(tmp_path):
        raise KeyboardInterrupt
    costs = total(tmp_path)
    assert costs["calls"] == 2
    assert costs["cpu_seconds"] > 0 and costs["peak_mb"] > 10


def test_the_pilot_holds_out_equally_many_of_each_label() -> None:
    """The last records of a balanced order are of the commonest label: a prompt that always writes it scored best."""
    task = ps.load_task("continent_en")
    few, many = sorted({str(record.label) for record in task.split("train")})[:2]
    train = [record for record in task.split("train") if record.label == many]
    train += [record for record in task.split("train") if record.label == few][:6]
    divided = pilot.with_held_out(replace(task, splits={"train": tuple(train)}), 8, seed=0)
    assert [record.label for record in divided.split("held_out")].count(few) == 4
    assert sorted(record.id for split in divided.splits.values() for record in split) == sorted(r.id for r in train)
    assert len(divided.split("train")) == len(train) - 8


def test_the_pilot_scores_records_that_it_did_not_train_on(tmp_path: Path) -> None:
    options = ["--preset", "smoke", "--task", "continent_en", "--v1", "0.001", "0.01", "--v2", "0.1", "--held-out", "8"]
    assert pilot.main([*options, "--out", str(tmp_path), "--set", "steps=2", "length=3"]) == 0
    table = pd.read_csv(tmp_path / "pilot.csv")
    assert table[["variant", "learning_rate"]].values.tolist() == [["v1", 0.001], ["v1", 0.01], ["v2", 0.1]]
    run = ps.load_run(tmp_path / "continent_en-v1-0.01")
    assert (run.config.learning_rate, run.result["steps"]) == (0.01, 2)
    kept = balanced_order(ps.load_task("continent_en").split("train"), 42)[8:]
    assert run.description["task"]["data_hash"] == _of_train(kept)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", 'tasks=["continent_en"]'], "expected at least 2 tasks"),
        (["--held-out", "-5"], "cannot hold out -5 of the"),
        (["--held-out", "5000"], "of task 'continent_en': --held-out takes 1 to"),
    ],
)
def test_what_the_pilot_cannot_do_is_said_in_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pilot.main(["--preset", "smoke", "--task", "continent_en", "--out", str(tmp_path / "out"), *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def _of_train(records: tuple[Record, ...]) -> str:
    task = ps.load_task("continent_en")
    return replace(task, splits={"train": records}, source=None).data_hash("train")


def test_help_names_the_presets_and_what_can_be_set(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    for word in (*PRESETS, "--data", "continent_en", "deep_learning_rate"):
        assert word in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (['tasks=["continent_en", "continent_ne"]'], "no task, file or folder called 'continent_ne'"),
        (['tasks=["continent_en"]'], "at least 2 tasks"),
        (['tasks=["continent_en", "continent_en"]'], "each named once"),
        (["layers=paper"], "--set layers=measured"),
        (["steps=0"], "no hyper-parameters for task 'continent_en'"),
    ],
)
def test_what_cannot_work_is_said_at_once(
    changes: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path), "--set", *changes]) == 1
    assert message in capsys.readouterr().err


def test_inputs_that_are_too_short_for_a_probe_are_named_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path), "--set", "first_n=60", 'tasks=["continent_en", "capital_en"]']) == 1
    assert "continent_en: attention variability needs at least 2 inputs of first_n=60" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_an_unknown_value_of_a_preset_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="NAME is one of"):
        main(["--out", str(tmp_path), "--set", "stpes=3"])
    with pytest.raises(SystemExit, match="expected a int"):
        main(["--out", str(tmp_path), "--set", "steps=many"])
    with pytest.raises(SystemExit, match="expected one of 'measured', 'paper', got 'all'"):
        main(["--out", str(tmp_path), "--set", "layers=all"])


def test_presets_follow_the_paper() -> None:
    paper = PRESETS["paper"]
    assert paper.tasks == PAPER_TASKS == tuple(KNOWN)
    assert (paper.length, paper.seeds, paper.steps, paper.first_n) == (20, (42,), 0, 10)
    assert train_config(paper, "ag_news", "v2", 42).batch_size == 64
    assert train_config(paper, "klue_ynat", "v2", 42).batch_size == 32
    epochs = {"stsb": 10, "kor_nli": 16, "nsmc": 20, "korquad": 12, "commongen": 20}
    assert {name: train_config(paper, name, "v2", 42).epochs for name in epochs} == epochs
    assert len(PAPER_PEAKS) == len(PAPER_TROUGHS) == 12
    deep = make_prompt("peak", paper, 42, {"peak": PAPER_PEAKS})
    assert isinstance(deep, ps.DeepPrompt)
    assert deep.tied
    assert deep.layers == PAPER_PEAKS


def test_the_published_numbers_are_complete() -> None:
    assert read_published(PUBLISHED)["table"].value_counts().to_dict() == {"2": 28, "7": 28, "text": 4}


def test_scores_find_their_published_cells() -> None:
    """Every printed cell is met by exactly one score, of its own task, variant and metric."""
    tasks = {name: _task(name) for name in PAPER_TASKS}
    metrics = {"STS": "accuracy", "NLI": "macro_f1", "SA": "accuracy", "TC": "macro_f1", "CG": "coverage"}
    rows = []
    for name, known in KNOWN.items():
        own = {"squad2": "squad", "korquad": "korquad"}.get(name)
        for metric in (f"{own}_f1", f"{own}_exact") if own else (metrics[known.kind],):
            rows += [(name, variant, 42, metric, 0.5) for variant in ("v1", "v2", "peak", "trough", "frozen")]
    scores = pd.DataFrame(rows, columns=["task", "variant", "seed", "metric", "score"])
    published = read_published(PUBLISHED)
    for table, cells in (("2", table_2(scores, tasks)), ("7", table_7(scores, tasks))):
        printed = published[published["table"] == table]
        assert set(cells) == set(zip(printed["row"], printed["column"], strict=True))
        assert set(cells.values()) == {50.0}


def test_folders_go_before_the_hub_and_lacking_splits_are_cut(tmp_path: Path) -> None:
    tasks = load_tasks(Settings(tasks=("sst2", "imdb")), films(tmp_path, {"sst2": "test", "imdb": "train"}))
    for task in tasks.values():
        assert {split: len(records) for split, records in task.splits.items()} == {"train": 8, "test": 2}
        assert not {r.text("text") for r in task.split("train")} & {r.text("text") for r in task.split("test")}


def test_long_records_are_left_out_and_counted(tmp_path: Path) -> None:
    model = ps.load_model("embedded-causal")
    tasks = load_tasks(Settings(tasks=("sst2", "imdb")), films(tmp_path, {"sst2": "train", "imdb": "train"}))
    same, notes = choose_records(Settings(), tasks, model)
    assert same == tasks and not notes  # all are trained on, scored and probed: their order stays
    lengths = {
        split: [len(e.input_ids) for e in tasks["sst2"].encode(model.tokenizer, "causal", split, with_label=False)]
        for split in ("train", "test")
    }
    longest = max(sorted(lengths["train"])[4], min(lengths["test"]))
    assert longest < max(lengths["train"])
    chosen, notes = choose_records(Settings(longest=longest, train_limit=3), tasks, model)
    expected = [r for r, n in zip(tasks["sst2"].split("train"), lengths["train"], strict=True) if n <= longest]
    assert {record.id for record in chosen["sst2"].split("train")} <= {record.id for record in expected}
    assert len(chosen["sst2"].split("train")) == 3
    left_out = {split: sum(n > longest for n in of_split) for split, of_split in lengths.items()}
    assert notes[0] == (
        f"sst2: records of more than {longest} tokens, {left_out['train']} of 8 in train and {left_out['test']} of 2 "
        "in test"
    )
    with pytest.raises(ps.TaskError, match=r"longest=2 tokens; the shortest has \d+: --set longest=0"):
        choose_records(Settings(longest=2), tasks, model)


def test_records_are_drawn_with_as_many_of_each_label(tmp_path: Path) -> None:
    """A data set that is sorted by label, as the Hub has them: its first n records say nothing of the others."""
    model = ps.load_model("embedded-causal")
    for name in ("sst2", "imdb"):
        (tmp_path / name).mkdir()
        rows = [{"text": f"film {i}", "label": label} for label in ("positive", "negative") for i in range(20)]
        for split in ("train", "test"):
            (tmp_path / name / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    tasks = load_tasks(Settings(tasks=("sst2", "imdb")), tmp_path)
    chosen, notes = choose_records(Settings(train_limit=6, scored=8, probed=4), tasks, model)
    for task in chosen.values():
        for split, n in (("train", 6), ("test", 8), ("test", 4)):
            assert [record.label for record in task.split(split)[:n]].count("positive") == n / 2
    assert len(chosen["sst2"].split("test")) == 8 and not notes
    probed, _ = choose_records(Settings(probed=4), tasks, model)  # all are scored
    assert len(probed["sst2"].split("test")) == 40
    assert [record.label for record in probed["sst2"].split("test")[:4]].count("positive") == 2


def films(folder: Path, files: Mapping[str, str]) -> Path:
    """Folders of ten reviews, longer and longer, under the names of tasks."""
    rows = [{"text": f"film {'very ' * i}{i}", "label": ("positive", "negative")[i % 2]} for i in range(10)]
    for name, file in files.items():
        (folder / name).mkdir()
        (folder / name / f"{file}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


def test_claims_are_judged_by_task_and_then_over_tasks(out: Path) -> None:
    found = pd.read_csv(out / "observations.csv")
    claims = list(dict.fromkeys(found["claim"]))
    assert len(claims) == 8  # the fourth observation has two parts, each with its own number
    assert set(found["verdict"]) <= set(VERDICTS)
    for claim in claims[1:4]:
        of_claim = found[found["claim"] == claim]
        assert list(of_claim["where"]) == [*PRESETS["smoke"].tasks, "over 5 tasks"]
        assert of_claim["number"].iloc[-1] == pytest.approx(of_claim["number"].iloc[:-1].mean())
    trained = found[~found["claim"].str.contains("low layers") & found["number"].notna()]
    assert np.isfinite(trained[["null", "beyond"]]).all(axis=None)
    np.testing.assert_allclose(trained["beyond"], trained["number"] - trained["null"], atol=1e-9)
    holding = trained[trained["verdict"] == "holds"]
    assert (holding["low"] > 0).all() and (holding["beyond_low"] > 0).all()


@pytest.mark.parametrize("shift", [0.3, -0.3])
def test_low_layers(shift: float) -> None:
    noise = np.random.default_rng(0)
    tasks = {}
    for task in "abcd":
        heads = 0.4 + 0.01 * noise.random((10, 8, 4))
        heads[:, 2:] += shift
        tasks[task] = ProbeResult.from_examples(heads)
    *by_task, over = observations.low_layers_depend_less_on_content(tasks)
    assert [one.where for one in by_task] == list("abcd")
    assert {one.verdict for one in by_task} == {"undecided"}  # nothing is known of inputs
    assert (over.where, over.verdict) == ("over 4 tasks", "holds" if shift > 0 else "does not hold")
    assert over.low <= over.number <= over.high
    assert over.number == pytest.approx(shift, abs=0.01)


def test_one_task_with_the_effect_does_not_speak_for_the_others() -> None:
    """NSMC +0.337 beside three numbers around zero: over tasks nothing holds, whatever its own inputs say."""
    noise = np.random.default_rng(0)
    tasks = {}
    for task, shift in zip("abcd", (0.337, -0.038, -0.007, 0.016), strict=True):
        heads = 0.4 + 0.001 * noise.random((10, 8, 4))
        heads[:, 2:] += shift
        tasks[task] = ProbeResult.from_examples(heads)
    over = observations.low_layers_depend_less_on_content(tasks)[-1]
    assert over.number == pytest.approx(0.077, abs=0.001)
    assert (over.verdict, over.low < 0) == ("undecided", True)


@pytest.mark.parametrize(
    ("moved", "verdict"),
    [(("v2",), "holds"), (("v1",), "does not hold"), (("v2", "random v2"), "undecided")],
)
def test_change_in_the_middle(moved: tuple[str, ...], verdict: str) -> None:
    """What random prompts of the same norms do as well is not the training's."""
    noise = np.random.default_rng(0)
    tasks = {}
    for task in "abc":
        heads = {name: 1 + 0.01 * noise.random((5, 8, 3)) for name in ("v1", "v2", "random v1", "random v2")}
        for name in moved:
            heads[name][:, 2:6] *= 3
        tasks[task] = ProbeResult.from_examples(heads)
    *by_task, over = observations.v2_changes_the_middle(tasks)
    if len(moved) == 1:
        assert {one.verdict for one in (*by_task, over)} == {verdict}
        assert abs(over.beyond) == pytest.approx(0.25, abs=0.01)
    else:
        assert over.verdict != "holds" and over.low > 0
        assert over.beyond == pytest.approx(0, abs=0.01)
        assert over.size == pytest.approx(0, abs=0.05)
    assert abs(over.number) == pytest.approx(0.75 - 0.5, abs=0.01)  # 12 of 16 layers' worth, against 4 of 8


@pytest.mark.parametrize(
    ("second", "last", "verdicts"),
    [(1, -1, ("holds", "holds")), (1, 1, ("holds", "does not hold")), (-1, -1, ("does not hold", "holds"))],
)
def test_content_heads(second: int, last: int, verdicts: tuple[str, str]) -> None:
    noise = np.random.default_rng(0)
    kl, variability = {}, {}
    for task in "abc":
        base = noise.random((6, 8, 10))
        change = noise.random((6, 8, 10)) * 0.2
        change[:, 2:4] += second * base.mean(axis=0)[2:4] + 1
        change[:, 6:8] += last * base.mean(axis=0)[6:8] + 1
        both = {"v2": change, "random v2": noise.random((6, 8, 10))}
        kl[task] = ProbeResult.from_examples(both, name="attention_kl")
        variability[task] = ProbeResult.from_examples(base, name="attention_variability")
    found = observations.v2_changes_content_heads(kl, variability)
    over = [one for one in found if one.where.startswith("over")]
    assert tuple(one.verdict for one in over) == verdicts
    expected = [correlate(kl[task], variability[task]).values.sel(prompt="v2").values[[1, -1]] for task in kl]
    np.testing.assert_allclose([over[0].number, -over[1].number], np.mean(expected, axis=0))
    assert {one.where for one in found} == {"a", "b", "c", "over 3 tasks"}


@pytest.mark.parametrize(
    ("common", "null", "verdict"),
    [(True, False, "holds"), (True, True, "undecided"), (False, False, "undecided")],
)
def test_neurons(common: bool, null: bool, verdict: str) -> None:
    *by_language, over = observations.neurons_common_before_the_last(_scores_of_neurons(common, null))
    assert [one.where for one in by_language] == ["pairs of en", "pairs of ko"]
    assert over.where == "over 12 tasks"
    assert {one.verdict for one in (*by_language, over)} == {verdict} or not common
    if common:
        assert over.number == pytest.approx(0.8, abs=0.1)
        assert over.beyond == pytest.approx(0.0 if null else 0.8, abs=0.1)


def _scores_of_neurons(common: bool, null: bool) -> ProbeResult:
    """Twelve tasks whose neurons are alike in the first layer, and in the second-to-last if *common* (*null*)."""
    noise = np.random.default_rng(0)
    shared = noise.normal(size=(8, 1, 200))
    states = {}
    for i in range(12):
        values = []
        for alike_late in (common, null):
            own = noise.normal(size=(8, 1, 200))
            alike = [1.0, 0.5, 0.5, 0.3, 0.2, 0.1, 0.9 if alike_late else 0.1, 0.1]
            share = np.array(alike)[:, None, None]
            values.append(np.sqrt(share) * shared + np.sqrt(1 - share) * own)
        data = xr.Dataset(
            {"values": (("prompt", "layer", "position", "neuron"), np.stack(values))},
            coords={"prompt": ["v2", "random v2"], "layer": range(8), "position": [0], "neuron": range(200)},
        )
        states[f"task {i}"] = ProbeResult("neuron_states", data)
    return on_scores(states, {task: ("en", "ko")[i % 2] for i, task in enumerate(states)})


def test_a_layer_without_an_active_neuron_has_no_on_score() -> None:
    """It has no cosine; the recipe stopped there, with all prompts trained."""
    noise, states = np.random.default_rng(0), {}
    for i in range(6):
        values = noise.integers(0, 2, size=(1, 3, 1, 40)).astype(np.float32)
        values[0, 1] *= i > 0  # the first task's prompt leaves layer 1 silent
        data = xr.Dataset(
            {"values": (("prompt", "layer", "position", "neuron"), values)},
            coords={"prompt": ["v2"], "layer": range(3), "position": [0], "neuron": range(40)},
        )
        states[f"task {i}"] = ProbeResult("neuron_states_binary", data)
    found = on_scores(states, dict.fromkeys(states, "en")).data.isel(prompt=0)
    assert np.isnan(found["curve"].values[0, 1]) and np.isnan(found["curve_low"].values[0, 1])
    rest = found[["curve", "curve_low", "curve_high"]].isel(layer=[0, 2])
    assert (rest["curve_low"] < rest["curve"]).all() and (rest["curve"] < rest["curve_high"]).all()
    assert np.isfinite(found["values"].isel(task=1, other=2)).all()


@pytest.mark.parametrize(
    ("near", "verdict"),
    [(("v2",), "holds"), (("v1",), "does not hold"), (("v2", "random v2"), ""), ((), "undecided")],
)
def test_clusters(near: tuple[str, ...], verdict: str) -> None:
    """v1 prompts that cluster as well, or random ones that do, are against the claim."""
    model, noise = ps.load_model("embedded-causal"), torch.Generator().manual_seed(0)
    kinds = {f"{kind}-{language}": kind for kind in "abcdef" for language in ("en", "ko")}
    pca = {}
    for name in ("v1", "v2", "random v1", "random v2"):
        prompts = {prompt: ps.SoftPrompt(3).bind(model) for prompt in kinds}
        width = model.shape.d_model
        centres = {kind: float(name in near) * torch.randn(width, generator=noise) for kind in "abcdef"}
        for prompt, kind in kinds.items():
            prompts[prompt].embedding.data = centres[kind] + torch.randn(3, width, generator=noise)
        pca[name] = prompt_pca(prompts, tasks=kinds, n_permutations=99)
    *by_task, over = observations.clusters_by_task(pca)
    assert [one.where for one in by_task] == list(kinds)
    if verdict:
        assert over.verdict == verdict
    else:  # random prompts cluster as well: they lie a little above or below by chance
        assert over.low > 0 and over.verdict in ("undecided", "does not hold")
    assert over.number == pytest.approx(np.mean([one.number for one in by_task]))


@pytest.mark.parametrize("sign", [1, -1])
def test_label_space(sign: int) -> None:
    gaps = sign * np.array([0.0, 0.0, 0.0, 0.1, 0.02, 0.2])
    noise = np.array([-0.01, -0.01, 0.01, 0.01])[:, None]
    tasks = {}
    for task, size in (("a", 1.0), ("b", 1.1), ("c", 0.9)):
        words = np.zeros((4, 2, 6))
        words[:, 0] = size * gaps + noise
        null = np.zeros((4, 2, 6))
        null[:, 0] = 0.1 * size * gaps - noise
        result = ProbeResult.from_examples({"v2": words, "random v2": null}, dims=("word", "layer"))
        result.data["gap"] = (("prompt", "layer"), size * np.stack([gaps, 0.1 * gaps]))
        tasks[task] = result
    *by_task, over = observations.leans_to_the_gold_label(tasks)
    assert {one.verdict for one in (*by_task, over)} == {"holds" if sign > 0 else "does not hold"}
    assert over.number == pytest.approx(sign * 0.2)
    assert (over.null, over.size) == (pytest.approx(sign * 0.02), pytest.approx(sign * 9))
    assert over.low < over.number < over.high
    assert f"{sign * 0.13:.3f}" in over.meaning  # (0.1 + 0.2) / 2 - 0.02


def test_peaks_and_troughs() -> None:
    def compared(number: Number, null: float) -> Compared:
        return Compared(number, null, Number(*(end - null for end in (number.value, number.low, number.high))))

    numbers = {"a": compared(Number(2, 1, 3), 0.0), "b": compared(Number(1, 0.5, 1.5), 0.7)}
    first, second, over = observations.peaks_beat_troughs(numbers)
    assert (first.verdict, second.verdict, over.verdict) == ("holds", "undecided", "undecided")
    assert (over.number, over.null) == (1.5, 0.35)
    assert "1 holds, 1 undecided" in over.meaning
    (absent,) = observations.peaks_beat_troughs({})
    assert (absent.where, absent.verdict) == ("all tasks", "not measured")
    assert observations.peaks_beat_troughs({"a": compared(Number(-1, -3, 1), 0.0)})[0].verdict == "undecided"
    assert observations.peaks_beat_troughs({"a": compared(Number(-15, -20, -10), 0.0)})[0].verdict == "does not hold"


def test_differences_of_scores_are_scikit_learns_and_their_intervals_are_of_pairs() -> None:
    labels = ["yes", "no", "yes", "no", "no", "yes", "yes", "no"] * 10
    rows = [{"text": f"film {i}", "label": label} for i, label in enumerate(labels)]
    task = ps.Task.from_records(rows, verbalizer="labels", metric="macro_f1", split="test")
    flipped = [label if i % 4 else "no" for i, label in enumerate(labels)]
    random = {"random peak": [flipped], "random trough": [flipped]}
    found = difference_of_scores(
        task, "macro_f1", {"peak": [labels, flipped], "trough": [flipped, flipped]} | random
    ).number
    assert found.value == pytest.approx(100 * (1 - f1_score(labels, flipped, average="macro")) / 2)
    assert found.low < found.value < found.high
    # Both answer alike: whatever is drawn, the difference is 0. Intervals of two scores apart would be wide.
    same = difference_of_scores(task, "macro_f1", {"peak": [flipped], "trough": [flipped]} | random).number
    assert (same.low, same.value, same.high) == (0.0, 0.0, 0.0)
    # Random prompts do the same: nothing is left of the difference.
    null = {"random peak": [labels], "random trough": [flipped]}
    both = difference_of_scores(task, "macro_f1", {"peak": [labels], "trough": [flipped]} | null)
    assert both.null == pytest.approx(both.number.value) and both.beyond == Number(0.0, 0.0, 0.0)


def test_intervals_over_inputs_are_what_fresh_inputs_give() -> None:
    """Draw the inputs of a task anew many times: the number's spread is what one draw's interval says."""

    def draw(seed: int) -> ProbeResult:
        noise = np.random.default_rng(seed)
        heads = {name: 1 + noise.random((40, 8, 3)) for name in ("v1", "v2", "random v1", "random v2")}
        heads["v2"][:, 2:6] += 1
        return ProbeResult.from_examples(heads)

    one = share_of_the_middle(draw(0)).number
    spread = 1.96 * np.std([share_of_the_middle(draw(seed)).number.value for seed in range(1, 60)])
    assert (one.high - one.low) / 2 == pytest.approx(spread, rel=0.35)


def test_variability_s_interval_is_the_jackknife_s() -> None:
    model, examples = ps.load_model("embedded-causal"), ps.load_task("sentiment_en")
    result = ps.probe(model, None, examples, ps.probes.AttentionVariability(6), limit=30, progress=False)
    found = variability_above_the_lowest(result["attention_variability"])
    curve = result["attention_variability"].layer_curve().values.values
    without = result["attention_variability"].data["without"].mean("head").values
    assert found.value == pytest.approx(curve[2:].mean() - curve[:2].mean())
    numbers = without[:, 2:].mean(axis=1) - without[:, :2].mean(axis=1)
    error = np.sqrt((len(numbers) - 1) ** 2 / len(numbers)) * numbers.std(ddof=1)
    assert found.high - found.value == pytest.approx(student.ppf(0.975, len(numbers) - 1) * error)


def _task(name: str) -> ps.Task:
    """A task with the metrics of a known one and two records."""
    from promptscope.tasks.known import KNOWN as DATA_SETS

    known = DATA_SETS[name]
    if known.words is None:
        rows: list[Mapping[str, object]] = [
            {"text": "a b", "text1": "a", "text2": "b", "concepts": ["a"], "references": ["c"]}
        ]
        return ps.Task.from_records(list(rows), metric=known.metrics, name=name)
    labels = [{"text": str(i), "label": label} for i, label in enumerate(known.words)]
    return ps.Task.from_records(labels, verbalizer=dict(known.words), metric=known.metrics, name=name)


def test_the_papers_special_tokens_are_asked_for_where_the_tokenizer_names_others():
    """mGPT begins and ends with <|endoftext|> by itself; the package's models name the paper's tokens."""
    from recipes.attention_and_neurons.tasks import paper_specials
    from tests.tasks.conftest import byte_level

    end = "<|endoftext|>"
    mgpt = byte_level(["<s>", "</s>", end], bos_token=end, eos_token=end, pad_token=end)
    assert paper_specials(mgpt) == {"bos": "<s>", "sep": "</s>"}
    assert paper_specials(byte_level([end], bos_token=end, eos_token=end)) == {}
    assert paper_specials(ps.load_model("embedded-causal").tokenizer) == {}
    task = ps.load_task("continent_en")
    model: Any = SimpleNamespace(tokenizer=mgpt)
    for asked, start in ((True, "<s>"), (False, end)):
        chosen, _ = choose_records(replace(PRESETS["paper"], paper_specials=asked), {"continent_en": task}, model)
        (example,) = chosen["continent_en"].encode(mgpt, "causal", "test", limit=1)
        assert mgpt.convert_ids_to_tokens(example.input_ids[0]) == start
    assert all(PRESETS[name].paper_specials == name.startswith("paper") for name in PRESETS)


def test_what_rounding_left_of_a_difference_is_written_as_zero() -> None:
    assert page._with_interval(10.0, -5.8e-15, 22.0) == "10 [0, 22]"
    assert page._with_interval(1.1e-14, np.nan, np.nan) == "0"
    assert page._with_interval(-0.0098, -0.049, 0.03) == "-0.0098 [-0.049, 0.03]"
