"""What a user sees of a mistake: one line that says what to do, exit code 2, nothing left behind."""

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from promptscope.cli.parse import parse_layers, parse_template, parse_verbalizer
from promptscope.errors import PromptError, TaskError
from tests.cli.conftest import run_command

GOOD = {"--model": "model", "--task": "reviews", "--verbalizer": "labels", "--length": "2", "--steps": "1"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"--model": "modl"}, "no model 'modl'"),
        ({"--task": "captal_en"}, "Did you mean 'capital_en'?"),
        ({"--init": "vocb"}, "Did you mean 'vocab'?"),
        ({"--layers": "0,x", "--prompt": "v2"}, "--layers must be numbers"),
        ({"--layers": "0"}, "need --prompt v2"),
        ({"--length": "500"}, "use a shorter prompt"),
        ({"--device": "nowhere"}, "no device 'nowhere'"),
        ({"--dtype": "float99"}, "got 'float99'"),
        ({"--epochs": "1"}, "either steps or epochs"),
        ({"--verbalizer": "positive"}, "LABEL=WORD"),
        ({"--verbalizer": "positive=good"}, "negative"),
        ({"--init": "prompt:nowhere"}, "no prompt folder"),
        ({"--layers": "0-99999999999", "--prompt": "v2"}, "--layers must be numbers of layers"),
        ({"--layers": "3-1", "--prompt": "v2"}, "must begin with the smaller number: write 1-3"),
        ({"--layers": "\u00b2", "--prompt": "v2"}, "--layers must be numbers"),
        ({"--test-share": "inf"}, "test must not be or hold NaN or infinity, got inf"),
        ({"--validation-share": "nan"}, "validation must not be or hold NaN or infinity, got nan"),
        ({"--test-share": "-0.1"}, "Cannot take"),
        ({"--device": "meta"}, "have no values"),
        ({"--learning-rate": "inf"}, "learning_rate"),
        ({"--task": "\udcff"}, "There is no task"),
        ({"--task": "word " * 200}, "There is no task"),
        ({"--model": "m" * 5000}, "no model"),
    ],
)
def test_mistakes_in_train(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], says: str
) -> None:
    monkeypatch.chdir(workplace)
    options = [word for pair in (GOOD | change).items() for word in pair]
    done = run_command("train", *options, "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert says in lines[0]
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["eval", "nowhere"], "not a run"),
        (["eval", "runs/v1", "--split", "tset"], "Did you mean 'test'?"),
        (["eval", "runs/v1", "--prompt", "best"], "evaluate_every"),
        (["eval", "runs/v1", "--prompt", "lst"], "Did you mean 'last'?"),
        (["probe", "runs/v1", "--probes", "attention_lk", "--out", "p"], "Did you mean 'attention_kl'?"),
        (["probe", "runs/v1", "--prompt", "none", "--out", "p"], "needs a prompt"),
        (["inspect", "model"], "neither prompt.json"),
        (["report", "runs/v1", "model", "--out", "r.html"], "not a run"),
        (["report", "runs/v1", "--split", "tset", "--out", "r.html"], "Did you mean 'test'?"),
    ],
)
def test_mistakes_elsewhere(workplace: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str) -> None:
    monkeypatch.chdir(workplace)
    done = run_command(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert says in done.stderr
    assert not (workplace / "r.html").exists()


def test_changed_data_are_noticed(workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(workplace / "reviews", "reviews")
    options = [word for pair in (GOOD | {"--model": str(workplace / "model")}).items() for word in pair]
    assert run_command("train", *options, "--out", "run").exit_code == 0
    lines = Path("reviews/train.jsonl").read_text(encoding="utf-8").splitlines()
    Path("reviews/train.jsonl").write_text("\n".join(lines[:-1]), encoding="utf-8")
    done = run_command("eval", "run")
    assert done.exit_code == 2
    assert "other records now" in done.stderr
    assert run_command("eval", "run", "--task", "reviews").exit_code == 0


def test_a_folder_that_cannot_be_written(workplace: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    changed = {"--model": str(workplace / "model"), "--task": str(workplace / "reviews")}
    options = [word for pair in (GOOD | changed).items() for word in pair]
    done = run_command("train", *options, "--out", tmp_path / "file" / "run")
    assert done.exit_code == 2
    assert "cannot write" in done.stderr
    assert "give another folder" in done.stderr


def test_a_real_process_has_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "promptscope", "eval", str(tmp_path / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["train", "eval", "probe", "inspect", "report"])
def test_help_has_an_example(command: str) -> None:
    done = run_command(command, "--help")
    assert done.exit_code == 0
    assert f"Example: promptscope {command}" in " ".join(done.stdout.split())


def test_a_reader_that_has_seen_enough_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """`promptscope ... | head` ends without a word: it said "cannot read or write: Broken pipe"."""

    def closed(*_: object, **__: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("promptscope.cli.doctor.print_pairs", closed)
    done = run_command("doctor", "--no-test")
    assert done.exit_code == 1 and "error" not in done.stderr


def test_values_that_are_read_by_hand() -> None:
    assert parse_layers("0-2,5") == [0, 1, 2, 5]
    assert parse_template(r"A: {text}\nB:=> {label}{eos}") == ("A: {text}\nB:", " {label}{eos}")
    assert parse_template("single") == "single"
    assert parse_verbalizer("0=negative,1=positive") == {"0": "negative", "1": "positive"}
    with pytest.raises(PromptError, match="0,1,5"):
        parse_layers("1-")
    with pytest.raises(TaskError, match="LABEL=WORD"):
        parse_verbalizer("0=negative,1")
