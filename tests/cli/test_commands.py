"""Every command on a run, from another working directory than the one it was trained in."""

import dataclasses
import json
import logging
import os
from inspect import signature
from pathlib import Path

import pandas as pd
import pytest
import typer

import promptscope as ps
from promptscope.cli import app
from promptscope.cli.log_level import LogLevel, logging_at
from promptscope.cli.train import train
from tests.cli.conftest import run_command

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand where neither model nor data lie."""
    monkeypatch.chdir(tmp_path)


def test_train_writes_the_run_that_was_asked_for(workplace: Path) -> None:
    run = ps.load_run(workplace / "runs" / "v2")
    assert isinstance(run.prompt, ps.DeepPrompt)
    assert run.prompt.length == 3
    assert (run.config.steps, run.config.batch_size, run.config.seed) == (4, 4, 5)
    assert run.prompt.provenance["seed"] == 5


def test_train_json_is_one_object_on_stdout(workplace: Path) -> None:
    arguments = ["--model", workplace / "model", "--task", workplace / "reviews", "--verbalizer", "labels"]
    done = run_command("train", *arguments, "--length", 2, "--steps", 2, "--out", "run", "--json")
    value = json.loads(done.stdout)
    assert value["result"]["steps"] == 2
    assert value["prompt"]["type"] == "SoftPrompt"
    assert "train" in done.stderr  # the progress bar


def test_a_finished_run_is_not_trained_again(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    before = Path("runs/v1/result.json").read_bytes()
    same = ["--model", "model", "--task", "reviews", "--verbalizer", "labels", "--length", 3, "--steps", 4]
    same += ["--batch-size", 4, "--out", "runs/v1"]
    assert run_command("train", *same, "--seed", 5).exit_code == 0
    other = run_command("train", *same, "--seed", 6)
    assert other.exit_code == 2
    assert "other settings" in other.stderr
    assert Path("runs/v1/result.json").read_bytes() == before


@pytest.mark.parametrize("kind", ["v1", "v2"])
def test_eval_gives_what_python_gives(workplace: Path, kind: str) -> None:
    folder = workplace / "runs" / kind
    done = run_command("eval", folder, "--split", "test", "--json")
    assert done.exit_code == 0, done.output
    value = json.loads(done.stdout)
    model = ps.load_model(workplace / "model")
    task = ps.load_task(workplace / "reviews", verbalizer="labels")
    assert value["scores"] == pytest.approx(ps.evaluate(model, ps.load_run(folder).prompt, task, progress=False))
    assert value["scores"]["n"] == 6


def test_eval_of_the_frozen_model(workplace: Path) -> None:
    plain = json.loads(run_command("eval", workplace / "runs" / "v1", "--prompt", "none", "--json").stdout)["scores"]
    model = ps.load_model(workplace / "model")
    task = ps.load_task(workplace / "reviews", verbalizer="labels")
    assert plain == pytest.approx(ps.evaluate(model, None, task, progress=False))


def test_probe_writes_results_tables_and_a_page(workplace: Path, tmp_path: Path) -> None:
    out = tmp_path / "probes"
    # One word is one token here: <s> the film is a good </s> has no 10 tokens for the variability probe.
    done = run_command("probe", workplace / "runs" / "v2", "--probes", "attention_kl", "--out", out, "--json")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)["probes"]["attention_kl"]
    assert summary["dims"] == {"prompt": 2, "layer": 3, "head": 4}
    result = ps.load_result(out / "attention_kl")
    table = pd.read_csv(out / "attention_kl.csv")
    assert table["value"].to_numpy() == pytest.approx(result.values.values.ravel())
    assert summary["mean"]["last"] == pytest.approx(float(result.values.sel(prompt="last").mean()))
    assert "Attention KL" in (out / "probes.html").read_text(encoding="utf-8")


def test_inspect_a_run_and_a_prompt(workplace: Path) -> None:
    run = workplace / "runs" / "v1"
    whole = json.loads(run_command("inspect", run, "--json").stdout)
    prompt = ps.load_prompt(run / "prompts" / "last")
    assert whole["content_hash"] == prompt.content_hash()
    assert whole["result"]["steps"] == 4
    assert [len(row["tokens"]) for row in whole["nearest_tokens"]] == [3, 3, 3]
    norms = [row["mean"] for row in whole["norms"]]
    assert norms == pytest.approx([prompt.vectors().norm(dim=1).mean().item()])
    text = run_command("inspect", run / "prompts" / "last")
    assert text.exit_code == 0
    assert "the model cannot be loaded" in text.stdout  # the prompt says "model", which is not here
    assert "SoftPrompt" in text.stdout


def test_report_of_two_runs(workplace: Path, tmp_path: Path) -> None:
    runs = [workplace / "runs" / kind for kind in ("v1", "v2")]
    done = run_command("report", *runs, "--out", tmp_path / "report.html")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<td>DeepPrompt</td>") == page.count("<td>SoftPrompt</td>") == 1


def test_layers_tied_and_init_reach_the_prompt(workplace: Path) -> None:
    arguments = [
        "--model",
        workplace / "model",
        "--task",
        workplace / "reviews",
        "--verbalizer",
        "labels",
        "--steps",
        1,
    ]
    more = ["--prompt", "v2", "--tied", "--layers", "0,2", "--length", 2, "--learning-rate", 1e-9, "--out", "run"]
    assert run_command("train", *arguments, *more).exit_code == 0
    prompt = ps.load_run("run").prompt
    assert isinstance(prompt, ps.DeepPrompt)
    assert (prompt.tied, prompt.layers) == (True, (0, 2))
    more[-1] = "second"
    assert run_command("train", *arguments, *more, "--init", "prompt:run/prompts/last").exit_code == 0
    assert ps.load_run("second").prompt.keys().detach().numpy() == pytest.approx(
        prompt.keys().detach().numpy(), abs=1e-6
    )


def test_one_file_without_splits_can_keep_a_share_for_the_test(workplace: Path) -> None:
    file = workplace / "reviews" / "train.jsonl"
    arguments = ["--model", workplace / "model", "--task", file, "--verbalizer", "labels", "--length", 2, "--steps", 1]
    assert run_command("train", *arguments, "--test-share", 0.3, "--out", "run").exit_code == 0
    value = json.loads(run_command("eval", "run", "--split", "test", "--json").stdout)
    assert value["scores"]["n"] == 3
    assert ps.load_run("run").result["n_train"] == 7


def test_log_level_says_how_much_goes_to_stderr(workplace: Path) -> None:
    before = dict(os.environ)
    arguments = ["eval", workplace / "runs" / "v1", "--limit", 2]
    usual, silent = run_command(*arguments), run_command("--log-level", "error", *arguments)
    assert usual.exit_code == silent.exit_code == 0
    # Bars of libraries are switched off when these are imported, which in this process they are already.
    assert "evaluate:" in usual.stderr and "evaluate:" not in silent.stderr
    assert silent.stdout == usual.stdout
    assert dict(os.environ) == before


@pytest.mark.parametrize(("level", "said"), [("warning", []), ("info", ["found"]), ("debug", ["found", "looked"])])
def test_log_levels_show_what_libraries_log(level: LogLevel, said: list[str], capsys: pytest.CaptureFixture) -> None:
    with logging_at(level):
        logging.getLogger("a library").info("found")
        logging.getLogger("a library").debug("looked")
    logging.getLogger("a library").info("afterwards")
    assert capsys.readouterr().err.split() == said


def test_help_of_probe_names_every_probe() -> None:
    text = " ".join(run_command("probe", "--help").stdout.split())
    assert all(name in text for name in ps.probes.PROBES)


def test_defaults_are_those_of_python() -> None:
    ours, theirs = signature(train).parameters, signature(ps.TrainConfig).parameters
    shared = [name for name in theirs if name in ours]
    assert len(shared) >= 15
    assert {name: ours[name].default for name in shared} == {name: theirs[name].default for name in shared}
    for name in ("length", "tied"):
        assert ours[name].default == signature(ps.DeepPrompt).parameters[name].default


def test_every_setting_of_a_training_is_an_option(workplace: Path, tmp_path: Path, monkeypatch) -> None:
    """All fields of TrainConfig, by their names, with their defaults; those that were once left out reach the run."""
    command = typer.main.get_command(app).commands["train"]
    options = {option.name: option for option in command.params}
    for field in dataclasses.fields(ps.TrainConfig):
        assert options[field.name].default == field.default
        assert options[field.name].help
    monkeypatch.chdir(workplace)
    done = run_command(
        *("train", "--model", "model", "--task", "reviews", "--verbalizer", "labels", "--length", "2", "--steps", "1"),
        *("--betas", "0.5", "0.75", "--padding", "left", "--max-length", "9", "--out", tmp_path / "run"),
    )
    assert done.exit_code == 0, done.stderr
    config = ps.load_run(tmp_path / "run").config
    assert (config.betas, config.padding, config.max_length) == ((0.5, 0.75), "left", 9)
