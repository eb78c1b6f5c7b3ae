"""Explosive prompts: counts, the step's formula, the control of the norm, and the whole recipe on a small grid."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

import promptscope as ps
from promptscope.prompts.reparameterisation import UnderParameterised
from recipes.common import few_shot, load_tasks, read_published
from recipes.common.grids import at_own_best_rate
from recipes.explosive_prompts.control import STARTED, by_kind_of_rate, rescaled
from recipes.explosive_prompts.measures import repeated, transfer_correlation
from recipes.explosive_prompts.parameters import parameter_table
from recipes.explosive_prompts.plan import plan
from recipes.explosive_prompts.regenerate import PUBLISHED
from recipes.explosive_prompts.run import main
from recipes.explosive_prompts.settings import PRESETS
from recipes.explosive_prompts.splits import paper_splits
from recipes.explosive_prompts.steps import predicted_step
from recipes.explosive_prompts.tables import NAMES, cells
from tests.tiny_models import hooked


def test_counts_are_the_printed_ones() -> None:
    table = parameter_table()
    assert (table["computed"] == table["published"]).all() and len(table) == 12


def test_published_numbers_are_complete_and_their_averages_agree() -> None:
    published = read_published(PUBLISHED)
    counts = {"1": 270, "2": 60, "3": 36, "4": 54, "5": 63, "6": 15, "text": 4}
    assert published["table"].value_counts().to_dict() == counts
    first = published[published["table"] == "1"].pivot(index="row", columns="column", values="published").astype(float)
    suite = first[["Boolq", "CB", "WiC", "WSC", "Multi"]].mean(axis=1)
    assert (suite - first["SuperGLUE Avg"]).abs().max() < 0.15


def test_paper_preset_names_the_papers_tasks() -> None:
    assert {NAMES[name] for name in PRESETS["paper"].tasks} == set(
        read_published(PUBLISHED).query("table == '5'")["row"]
    )


HUB_COLUMNS: dict[str, dict[str, Any]] = {
    "superglue/boolq": {"passage": "p", "question": "q", "label": [0, 1]},
    "superglue/cb": {"premise": "p", "hypothesis": "h", "label": ["entailment", "contradiction", "neutral"]},
    "superglue/wic": {"word": "w", "sentence1": "a", "sentence2": "b", "label": [0, 1]},
    "superglue/wsc": {"text": "t", "span1_text": "a", "span2_text": "b", "label": [0, 1]},
    "superglue/copa": {"premise": "p", "choice1": "a", "choice2": "b", "question": "cause", "label": [0, 1]},
    "superglue/rte": {"premise": "p", "hypothesis": "h", "label": ["entailment", "not_entailment"]},
    "superglue/multirc": {"paragraph": "p", "question": "q", "answer": "a", "label": [0, 1]},
    "cola": {"sentence": "s", "label": ["acceptable", "unacceptable"]},
    "mrpc": {"sentence1": "a", "sentence2": "b", "label": ["equivalent", "not_equivalent"]},
    "rte": {"sentence1": "a", "sentence2": "b", "label": ["entailment", "not_entailment"]},
    "stsb_score": {"sentence1": "a", "sentence2": "b", "label": [1.3, 4.75]},
    "mnli": {"premise": "p", "hypothesis": "h", "label": ["entailment", "contradiction", "neutral"]},
    "qnli": {"question": "q", "sentence": "s", "label": ["entailment", "not_entailment"]},
    "qqp": {"question1": "a", "question2": "b", "label": [0, 1]},
    "sst2": {"sentence": "s", "label": ["positive", "negative"]},
    **{
        f"mrqa/{name}": {"subset": subset, "context": "c", "question": "q", "answers": [["an answer"]]}
        for name, subset in (("nq", "NaturalQuestionsShort"), ("hotpotqa", "HotpotQA"), ("searchqa", "SearchQA"),
                             ("newsqa", "NewsQA"), ("squad", "SQuAD"))
    },
    "winogrande": {"sentence": "a _", "option1": "x", "option2": "y", "answer": ["1", "2"]},
    "yelp_polarity": {"text": "t", "label": ["1", "2"]},
    "scitail": {"premise": "p", "hypothesis": "h", "label": ["entails", "neutral"]},
    "paws_wiki": {"sentence1": "a", "sentence2": "b", "label": [0, 1]},
}  # fmt: skip


def hub_folders(folder: Path, names: Sequence[str], n: int = 20) -> Path:
    """Write the Hub's columns of each data set to FOLDER/NAME."""
    for name in names:
        columns = HUB_COLUMNS[name]
        varied = "answer" if "answer" in columns and isinstance(columns["answer"], list) else "label"
        varied = varied if varied in columns else "answers"
        for split in ("train", "validation", "test") if name in ("mrpc", "scitail", "paws_wiki") else ("train", "test"):
            values = columns[varied]
            words = {k: v for k, v in columns.items() if k != varied}
            rows = [
                {k: f"{v} {split} {i}" if k != "subset" else v for k, v in words.items()}
                | {varied: values[i % len(values)]}
                for i in range(n)
            ]
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_the_paper_preset_plans_all_its_runs_from_the_hubs_columns(tmp_path: Path) -> None:
    """Every data set is read, split by the rules of Table 5, and encoded; every run has its prompt and settings."""
    settings = PRESETS["paper"]
    data = hub_folders(tmp_path, settings.tasks)
    tasks = paper_splits(load_tasks(settings.tasks, data))
    assert len(tasks) == 21
    sizes = {name: tuple(len(task.split(s)) for s in ("train", "validation", "test")) for name, task in tasks.items()}
    assert sizes["superglue/boolq"] == sizes["scitail"] == sizes["mrqa/hotpotqa"] == (20, 10, 10)
    assert sizes["mnli"] == sizes["superglue/multirc"] == (18, 2, 20) and sizes["mrpc"] == (20, 20, 20)
    model = ps.load_model("embedded-seq2seq")
    for task in tasks.values():
        assert len(task.encode(model.tokenizer, "seq2seq", "test", decoder_start_id=0)) in (10, 20)
    groups = plan(replace(settings, shots=(4,)), tasks)
    assert len(groups["main"]) == 7 * 21 * 3 and len(groups["rates"]) == 5 * 21 * 3 * 4
    assert len({one.name for group in groups.values() for one in group}) == sum(map(len, groups.values()))
    assert groups["main"][0].config.steps == 30_000


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [pytest.param("sst2", 67_349, 872, marks=pytest.mark.slow), ("cola", 8_551, 1_043), ("rte", 2_490, 277)],
)
def test_splits_have_the_sizes_of_table_5(name: str, train: int, test: int) -> None:
    """With as many records as the data sets have: the large SST-2, the halved CoLA, RTE."""
    splits = {k: [{"text": "x", "label": i % 2} for i in range(n)] for k, n in (("train", train), ("test", test))}
    task = paper_splits({name: ps.Task.from_records(splits)})[name]
    sizes = tuple(len(task.split(split)) for split in ("train", "validation", "test"))
    published = read_published(PUBLISHED).query("table == '5'").set_index(["row", "column"])["published"].astype(int)
    assert sizes == tuple(published[NAMES[name]][["train", "validation", "test"]])


@pytest.mark.slow
def test_the_paper_preset_runs_on_a_random_t5_and_folders(tmp_path: Path) -> None:
    """Two of its data sets and a step of everything, on a T5 of random weights with sentinels."""
    folder = tmp_path / "t5"
    hooked("t5").twin.save_pretrained(folder)
    ps.load_model("embedded-seq2seq").tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["vocab_size"] = 4096
    T5ForConditionalGeneration(T5Config(**config)).save_pretrained(folder)
    data = hub_folders(tmp_path / "data", ("superglue/boolq", "sst2"), 24)
    small = [f"model={folder}", 'tasks=["superglue/boolq", "sst2"]', "steps=2", "few_shot_steps=1", "evaluate_every=1"]
    small += ["seeds=[0, 1]", "rates=[0.3]", "widths=[1]", "lengths=[1]", 'structures=["relu"]', "shots=[4]", "draws=1"]
    small += ["hidden=8", 'baselines=["lora"]', "repeats=1"]
    out = tmp_path / "out"
    assert main(["--preset", "paper", "--out", str(out), "--data", str(data), "--set", *small]) == 0
    assert pd.read_csv(out / "failed.csv").empty
    assert (pd.read_csv(out / "table_1.csv")["computed"].notna()).any()


@pytest.mark.parametrize("seed", range(3))
def test_a_step_of_adam_moves_two_linear_maps_as_predicted(seed: int) -> None:
    torch.manual_seed(seed)
    width, rate = 50, 1e-5
    vector = torch.nn.Parameter(torch.rand(1, width, dtype=torch.float64) - 0.5)
    network = UnderParameterised().network(1, width).double()
    target = torch.randn(1, width, dtype=torch.float64)
    before = network(vector)
    ((before - target) ** 2).sum().backward()
    down, up = (number.detach().numpy() for number in network.parameters())
    bound = predicted_step(vector.detach().numpy()[0], down[0], up[:, 0])
    with torch.no_grad():
        numbers = [vector, *network.parameters()]
        for number in numbers:
            number -= rate * number.grad.sign()
    moved = (network(vector) - before).detach().norm().item() / (rate * width**0.5)
    assert 0.5 * bound < moved < 1.001 * bound


def test_rescaled_and_repeated_vectors() -> None:
    model = ps.load_model("embedded-seq2seq")
    prompt = ps.SoftPrompt(3, seed=1).bind(model)
    one = repeated(prompt, 1, 1)
    longer = rescaled(one, 7.0)
    assert longer.vectors().norm().item() == pytest.approx(7.0)
    assert torch.nn.functional.cosine_similarity(longer.vectors(), prompt.vectors()[1:2]).item() == pytest.approx(1.0)
    assert torch.equal(repeated(prompt, 1, 4).vectors(), prompt.vectors()[[1, 1, 1, 1]])
    assert repeated(prompt, 1, 4).bind(model).vectors().shape == (4, 128)


def test_few_shot_draws_are_balanced_and_no_larger_than_a_class() -> None:
    task = ps.load_task("continent_en")
    few = few_shot(task, 15, seed=1)
    assert pd.Series([r.label for r in few.split("train")]).value_counts().unique().tolist() == [3]
    assert few.split("test") == task.split("test")
    assert len(few_shot(ps.load_task("capital_en"), 5, seed=1).split("train")) == 5
    with pytest.raises(ps.TaskError, match="a draw of 1000 records needs 200 of class"):
        few_shot(task, 1000, seed=0)


def test_the_best_rate_is_chosen_on_validation_records() -> None:
    lines = [("a", "t", 0.1, s, 0.9, 0.1) for s in (0, 1)] + [("a", "t", 0.3, s, 0.2, 1.0) for s in (0, 1)]
    scores = pd.DataFrame(lines, columns=["variant", "task", "rate", "seed", "validation", "score"])
    assert at_own_best_rate(scores)["rate"].unique().tolist() == [0.1]


def test_a_control_run_is_named_after_the_prompt_it_starts_from() -> None:
    """An EPT run that was trained anew met the control of the old one, and the recipe could not go on."""
    one = plan(PRESETS["smoke"], load_tasks(["continent_en"]))["main"][0]
    other = replace(one, of="1a2b3c4d")
    assert other.name == f"{one.name}_1a2b3c4d" and replace(one, of="0").name != other.name


def test_the_control_chooses_between_kinds_of_rates_and_not_between_seeds() -> None:
    """Scaled rates differ by seed: the luckiest seed was taken for the control, alone and without an interval."""
    lines = [(STARTED, "t", 0.3, s, 0.5, 0.4 + 0.1 * s) for s in range(3)]
    lines += [
        (STARTED, "t", rate, s, 0.6 + 0.1 * s, 0.7) for s, rate in ((0, 45.0), (1, 61.0))
    ]  # seed 2: the norm is alike
    control = pd.DataFrame(lines, columns=["variant", "task", "rate", "seed", "validation", "score"])
    best = at_own_best_rate(by_kind_of_rate(control, 0.3)).sort_values("seed")
    assert best["seed"].tolist() == [0, 1, 2]
    assert best["score"].tolist() == pytest.approx([0.7, 0.7, 0.6])
    weak = control.assign(validation=control["rate"].eq(0.3))
    assert at_own_best_rate(by_kind_of_rate(weak, 0.3))["rate"].tolist() == [0.3] * 3


def test_planted_transfer_is_found_and_three_tasks_have_no_correlation() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 4))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    lines = [(f"{i}", f"{j}", c, 0.0, c) for i, row in enumerate(unit @ unit.T) for j, c in enumerate(row)]
    table = pd.DataFrame(lines, columns=["source", "target", "cosine", "score", "transfer"])
    found = transfer_correlation(table, 199).iloc[0]
    assert found["r"] == pytest.approx(1.0) and found["p"] <= 0.05
    few = table[table["source"].isin(["0", "1", "2"]) & table["target"].isin(["0", "1", "2"])]
    assert np.isnan(transfer_correlation(few, 199).iloc[0]["r"])


def test_cells_of_the_papers_model_stand_beside_its_own() -> None:
    lines = [("main", "EPT", task, 0.3, s, 0.5 + 0.1 * s) for task in ("superglue/boolq", "cola") for s in (0, 1)]
    scores = pd.DataFrame(lines, columns=["group", "variant", "task", "rate", "seed", "score"])
    found = cells(scores, PRESETS["paper"], scores.iloc[:0])
    assert found["1"]["T5-base / EPT", "Boolq"] == pytest.approx(55.0)
    assert ("T5-base / EPT", "SuperGLUE Avg") not in found["1"]


@pytest.mark.slow
def test_whole_recipe_on_a_small_grid(tmp_path: Path) -> None:
    """Once, and again: the second call trains nothing and writes the same numbers."""
    small = ["steps=4", "evaluate_every=2", "few_shot_steps=2", "validated=6", "scored=6", "repeats=1", "baselines=[]"]
    small += ["rates=[0.03, 0.3]", "widths=[1]", "lengths=[1]", 'structures=["layer norm"]', "draws=1", "shots=[4]"]
    options = ["--preset", "smoke", "--out", str(tmp_path), "--set", *small]
    assert main(options) == 0
    first = pd.read_csv(tmp_path / "scores.csv")
    assert set(first["group"]) == {"main", "rates", "widths", "lengths", "structures", "starts", "few4", "control"}
    assert first[["score", "norm_end"]].notna().all().all()
    about = json.loads((tmp_path / "results.json").read_text())
    assert {"report.html", "findings.csv", "table_1.csv", "figures/figure_8.html"} <= set(about["files"])
    assert pd.read_csv(tmp_path / "failed.csv").empty
    findings = pd.read_csv(tmp_path / "findings.csv")
    assert findings.groupby("claim").size().unique().tolist() == [3]  # two tasks, and over them
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("result.json")}
    assert main(options) == 0
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("result.json")}
    pd.testing.assert_frame_equal(first, pd.read_csv(tmp_path / "scores.csv"))


@pytest.mark.slow
def test_comparisons_that_are_not_asked_for_are_left_out(tmp_path: Path) -> None:
    """An empty list is no comparison; the rest is written all the same."""
    small = ["steps=2", "evaluate_every=1", "validated=4", "scored=4", "repeats=1", "baselines=[]", "rates=[]"]
    small += ["widths=[]", "lengths=[]", "structures=[]", "starts=[]", "shots=[]"]
    assert main(["--preset", "smoke", "--out", str(tmp_path), "--set", *small]) == 0
    assert set(pd.read_csv(tmp_path / "scores.csv")["group"]) == {"main", "control"}
    findings = pd.read_csv(tmp_path / "findings.csv").set_index("claim")
    ranges = findings.loc["EPT is less sensitive to the learning rate than many plain tokens"]
    assert (ranges["verdict"] == "not measured").all()  # one rate has no range
