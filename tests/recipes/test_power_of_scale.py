"""The power of scale: formulas against real modules, votes by hand, sentinels, and the whole recipe on a small grid."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

import promptscope as ps
from promptscope.readings import Nulls, read_nearest_tokens
from recipes.power_of_scale.ensembling import labels_in_one_batch, majority
from recipes.power_of_scale.findings import _labels_less_best
from recipes.power_of_scale.parameters import METHODS, parameter_table
from recipes.power_of_scale.readings import reading
from recipes.power_of_scale.run import main
from recipes.power_of_scale.sentinel import sentinel_of, with_sentinel
from recipes.power_of_scale.settings import PRESETS
from tests.recipes.test_explosive_prompts import hub_folders
from tests.tiny_models import hooked


def test_formulas_count_what_modules_hold() -> None:
    d, layers = 6, 4
    adapter = nn.Sequential(nn.Linear(d, 64), nn.Linear(64, d))
    assert METHODS["adapters, m = 64"][1](d, layers) == 2 * layers * sum(x.numel() for x in adapter.parameters())
    prefix = nn.Sequential(nn.Embedding(10, d), nn.Linear(d, 512), nn.Linear(512, 2 * layers * d))
    trained = METHODS["prefix tuning, k = 10, trained"][1](d, layers)
    assert trained == sum(x.numel() for x in prefix.parameters())
    p_tuning = METHODS["P-tuning, k = 10"][1](d, layers)
    assert p_tuning == ps.reparameterise.Mlp().n_parameters(10, d)
    table = parameter_table().set_index(["method", "model"])
    assert table.loc[("prompt tuning, k = 5", "T5-XXL"), "count"] == 20_480


def test_a_vote_in_one_batch_is_each_prompt_alone() -> None:
    model, task = ps.load_model("embedded-seq2seq"), ps.load_task("continent_en")
    prompts = [ps.SoftPrompt(3, seed=seed).bind(model) for seed in range(3)]
    with torch.no_grad():
        for prompt in prompts:
            prompt.embedding.mul_(4)  # strong enough that they disagree
    together = labels_in_one_batch(model, task, prompts, limit=20, batch_size=8)
    alone = [ps.predict(model, prompt, task, limit=20, progress=False) for prompt in prompts]
    assert together == alone and len({tuple(row) for row in alone}) > 1
    assert majority(["b", "a", "a", "b", "c"]) == "b"


def test_sentinels_come_before_every_answer_and_change_no_choice() -> None:
    task = with_sentinel(ps.load_task("continent_en"), "<extra_id_0>")
    assert task.verbalizer is not None and task.verbalizer.word("Africa") == "<extra_id_0>Africa"
    written = with_sentinel(ps.load_task("capital_en"), "<extra_id_0>")
    assert all((record.label or "").startswith("<extra_id_0>") for record in written.split("train"))
    assert written.split("test")[0].references == ps.load_task("capital_en").split("test")[0].references
    assert sentinel_of(ps.load_model("embedded-seq2seq").tokenizer) is None


def test_a_prompt_made_of_label_words_has_them_as_neighbours() -> None:
    model, task = ps.load_model("embedded-seq2seq"), ps.load_task("continent_en")
    assert task.verbalizer is not None
    words = tuple(task.verbalizer.word(label) for label in task.verbalizer.labels)
    prompt = ps.SoftPrompt(len(words) + 1, ps.init.Labels(words)).bind(model)
    near = read_nearest_tokens(model, prompt, 1, nulls=Nulls(random=1)).table
    found = reading(near[near["kind"] == "prompt"], prompt, task)
    random = reading(near[near["kind"] == "random"], ps.random_like(prompt), task)
    assert found["label_rate"] == 1.0 and found["cosine"] > 0.99
    assert random["label_rate"] < 1.0 and random["cosine"] < 0.6


def test_models_that_cannot_be_had_are_named_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there_is_none = str(tmp_path / "none")
    objectives = json.dumps([["span corruption", there_is_none]])
    assert main(["--preset", "smoke", "--out", str(tmp_path / "out"), "--set", f"objectives={objectives}"]) == 1
    assert f"nothing was trained. {there_is_none}" in capsys.readouterr().err
    assert not (tmp_path / "out" / "runs").exists()


def test_label_words_are_compared_with_the_best_of_the_other_starts_by_seed() -> None:
    """Seeds that one start lacks (a run failed) are left out; a start that was not asked for is not needed."""
    scores = pd.DataFrame(
        [("labels", 0, 0.5), ("labels", 1, 0.7), ("labels", 2, 0.9), ("uniform", 0, 0.4), ("uniform", 1, 0.1),
         ("uniform", 2, 0.0), ("vocab", 0, 0.6), ("vocab", 1, 0.2)],
        columns=["variant", "seed", "score"],
    ).assign(task="t")  # fmt: skip
    assert _labels_less_best(scores, ["uniform", "vocab"], "t") == pytest.approx([-0.1, 0.5])
    assert _labels_less_best(scores, ["uniform"], "t") == pytest.approx([0.1, 0.6, 0.9])


@pytest.mark.slow
def test_comparisons_that_are_not_asked_for_are_left_out(tmp_path: Path) -> None:
    small = ["steps=2", "evaluate_every=1", "validated=4", "scored=4", "null_draws=3", "lengths=[1]"]
    small += ["starts=[]", "members=0", "shifts=[]"]
    assert main(["--preset", "smoke", "--out", str(tmp_path), "--set", *small]) == 0
    findings = pd.read_csv(tmp_path / "findings.csv").set_index("claim")
    assert findings.loc["an ensemble beats its mean member", "verdict"] == "not measured"
    assert findings.loc["class labels are the best initialisation", "verdict"] == "not measured"
    assert findings.loc["more tokens than one help", "verdict"] == "not measured"


@pytest.mark.slow
def test_the_paper_preset_runs_on_random_t5s_and_folders(tmp_path: Path) -> None:
    """All of its data sets and comparisons, a step of each, on two T5 of random weights with sentinels."""
    models = []
    for name in ("one", "two"):
        folder = tmp_path / name
        ps.load_model("embedded-seq2seq").tokenizer.save_pretrained(folder)
        config = hooked("t5").twin.config.to_dict() | {"vocab_size": 4096}
        T5ForConditionalGeneration(T5Config(**config)).save_pretrained(folder)
        models.append(str(folder))
    paper = PRESETS["paper"]
    moved = [name for pair in paper.shifts for name in pair]
    data = hub_folders(tmp_path / "data", tuple(dict.fromkeys([*paper.tasks, *moved])), 12)
    small = [f"models={json.dumps(models)}", "steps=1", "evaluate_every=1", "batch_size=2", "length=8"]
    small += [f"objectives={json.dumps([['span corruption', models[0]], ['LM adaptation', models[1]]])}"]
    small += ["lengths=[1, 8]", "seeds=[0]", "scored=4", "validated=4", "null_draws=1", "members=2", "max_length=64"]
    out = tmp_path / "out"
    assert main(["--preset", "paper", "--out", str(out), "--data", str(data), "--set", *small]) == 0
    assert pd.read_csv(out / "failed.csv").empty
    scores, shifts = pd.read_csv(out / "scores.csv"), pd.read_csv(out / "shifts.csv")
    assert set(scores["task"]) >= set(paper.tasks) and set(scores["model"]) == set(models)
    assert set(zip(shifts["source"], shifts["target"], strict=True)) == set(paper.shifts)
    assert set(pd.read_csv(out / "objectives.csv")["objective"]) == {"span corruption", "LM adaptation"}


@pytest.mark.slow
def test_whole_recipe_on_a_small_grid(tmp_path: Path) -> None:
    small = ["steps=4", "evaluate_every=2", "validated=6", "scored=6", "null_draws=3", "lengths=[1, 5]"]
    small += ['objectives=[["span corruption", "embedded-seq2seq"], ["LM adaptation", "embedded-seq2seq"]]']
    options = ["--preset", "smoke", "--out", str(tmp_path), "--set", *small]
    assert main(options) == 0
    about = json.loads((tmp_path / "results.json").read_text())
    assert {"report.html", "findings.csv", "table_text.csv", "figures/figure_a.html"} <= set(about["files"])
    assert pd.read_csv(tmp_path / "failed.csv").empty
    objectives = pd.read_csv(tmp_path / "objectives.csv")
    assert set(objectives["objective"]) == {"span corruption", "LM adaptation"}
    findings = pd.read_csv(tmp_path / "findings.csv").set_index(["claim", "where"])
    same = findings.loc[("LM adaptation makes a model better to prompt than span corruption", "over 2 tasks")]
    assert same["number"] == 0.0  # one model under two names
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    assert main(options) == 0
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
