"""What a run folder may be, what stops a run, and what is left then."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from torch import Tensor

import promptscope as ps
from promptscope.files import write_sealed
from promptscope.training import loop
from promptscope.training.folder import FORMAT, check_same
from promptscope.training.gradient import accumulate_gradient
from tests.training.toy import toy_model, toy_rows, toy_task


def train(out: Path, prompt: ps.Prompt | None = None, task: ps.Task | None = None, **settings: Any) -> ps.Run:
    config = ps.TrainConfig(**{"steps": 4, "batch_size": 4, **settings})
    return ps.train(toy_model("gpt2"), prompt or ps.SoftPrompt(3), task or toy_task(), config, out=out, progress=False)


def test_the_folder_of_a_finished_run(tmp_path: Path) -> None:
    run = train(tmp_path / "run", steps=5, evaluate_every=2, snapshot_every=2)
    assert sorted(path.name for path in run.folder.iterdir() if not path.name.startswith(".")) == [
        "checkpoint.safetensors",
        "config.json",
        "history.csv",
        "prompts",
        "result.json",
    ]
    assert list(run.snapshots) == [0, 2, 4, 5]
    hashes = [prompt.content_hash() for prompt in run.snapshots.values()]
    assert len(set(hashes)) == 4
    assert hashes[0] == ps.SoftPrompt(3).bind(toy_model("gpt2")).content_hash()
    assert hashes[-1] == run.prompt.content_hash()
    assert run.snapshots[2].provenance["history"]["steps"] == 2
    assert run.snapshots[2].provenance["history"]["loss"] == run.history["loss"][1]
    assert list(run.history) == [
        "step",
        "epoch",
        "loss",
        "learning_rate",
        "grad_norm",
        "prompt_norm",
        "seconds",
        "validation_accuracy",
        "validation_macro_f1",
        "validation_loss",
        "validation_n",
    ]
    assert run.history["step"].tolist() == [1, 2, 3, 4, 5]
    assert run.history["validation_accuracy"].notna().tolist() == [False, True, False, True, True]
    assert run.history["seconds"].is_monotonic_increasing
    assert run.config == ps.TrainConfig(steps=5, batch_size=4, evaluate_every=2, snapshot_every=2)
    assert run.result["n_train"] == 10
    assert run.result["n_truncated"] == 0
    assert run.result["n_parameters"] == 3 * 32
    assert run.result["final_loss"] == run.history["loss"].iloc[-1]
    assert run.prompt.provenance["data_hash"] == toy_task().data_hash("train")
    assert "steps=5" in repr(run)


def test_validation_columns_are_what_evaluate_says_of_the_prompt_then(tmp_path: Path) -> None:
    run = train(tmp_path / "run", steps=4, evaluate_every=2, evaluate_limit=6, snapshot_every=2)
    for step in (2, 4):
        scores = ps.evaluate(
            toy_model("gpt2"), run.snapshots[step], toy_task(), split="validation", limit=6, progress=False
        )
        row = run.history.iloc[step - 1]
        assert {name: row[f"validation_{name}"] for name in scores} == pytest.approx(scores, rel=1e-5)


def test_the_best_prompt_is_the_first_with_the_best_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = iter([0.2, 0.7, float("nan"), 0.7, 0.4])
    monkeypatch.setattr(loop.Evaluator, "scores", lambda self, progress: {"accuracy": next(metrics), "loss": 1.0})
    run = train(tmp_path / "run", steps=5, evaluate_every=1, snapshot_every=1)
    assert run.best_prompt.content_hash() == run.snapshots[2].content_hash()
    assert run.best_prompt.provenance["history"]["steps"] == 2
    assert run.result["best_validation"] == 0.7


def test_without_evaluation_there_is_no_best_prompt(tmp_path: Path) -> None:
    with pytest.raises(ps.RunError, match="evaluate_every"):
        _ = train(tmp_path / "run").best_prompt


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"learning_rate": 0.5}, "config.learning_rate: 0.01 there, 0.5 now"),
        ({"steps": 5}, "config.steps: 4 there, 5 now"),
        ({"prompt": ps.SoftPrompt(3, seed=1)}, "prompt.start"),
        ({"prompt": ps.DeepPrompt(3)}, "prompt.type: 'SoftPrompt' there, 'DeepPrompt' now"),
        ({"task": toy_task(n=8)}, "task.data_hash"),
        ({"task": toy_task(max_length=7)}, "task.max_length: None there, 7 now"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    train(tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.*") if path.is_file()}
    with pytest.raises(ps.RunError) as error:
        train(tmp_path / "run", **change)
    assert field in str(error.value)
    assert {path: path.read_bytes() for path in before} == before


def test_a_prompt_that_was_edited_since_is_another_start(tmp_path: Path) -> None:
    """The old run would overwrite what the user wrote into it."""
    prompt = ps.SoftPrompt(3)
    train(tmp_path / "run", prompt=prompt)
    trained = prompt.content_hash()
    assert train(tmp_path / "run", prompt=prompt).prompt.content_hash() == trained  # as in a cell that runs twice
    for mine in (prompt, prompt.copy(), ps.load_prompt(tmp_path / "run" / "prompts" / "last")):
        with torch.no_grad():
            next(mine.parameters()).zero_()
        with pytest.raises(ps.RunError, match=r"other settings \(prompt.start"):
            train(tmp_path / "run", prompt=mine)
        assert not next(mine.parameters()).any()


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ps.RunError, match="not a run"):
        train(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')  # a model's folder
    with pytest.raises(ps.RunError, match="not a run"):
        train(tmp_path)
    with pytest.raises(ps.RunError, match="not a run"):
        ps.load_run(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "notes.txt"]
    with pytest.raises(ps.RunError, match="not a run"):
        train(tmp_path / "notes.txt")


def test_a_run_that_is_not_there_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "tickets").mkdir()
    with pytest.raises(ps.RunError, match=r"ticket' is not a run: there is no such folder\. Did you mean 'tickets'\?"):
        ps.load_run(tmp_path / "ticket")
    with pytest.raises(ps.RunError, match="Check the path"):
        ps.load_run(tmp_path / "no" / "such")


def test_another_start_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    about = {"config": {"steps": 2}, "prompt": {"start": "aa"}}
    write_sealed(tmp_path / "run" / "config.json", {"format": FORMAT, **about})
    with pytest.raises(ps.RunError, match=r"\(prompt\.start: the prompt starts from other vectors\)"):
        check_same(tmp_path / "run", about | {"prompt": {"start": "bb"}})


def test_damaged_files_of_a_run_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.Loop, "write_result", lambda self, counts: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "run")
    monkeypatch.undo()
    for name in ("checkpoint.safetensors", "history.csv", "config.json"):
        path = tmp_path / "run" / name
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ps.RunError, match=name):
            train(tmp_path / "run")
        path.write_bytes(whole)
    train(tmp_path / "run")


def test_a_changed_digit_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(loop.Loop, "write_result", lambda self, counts: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(folder)
    text = (folder / "history.csv").read_text()
    (folder / "history.csv").write_text(changed(text))
    with pytest.raises(ps.RunError, match=r"history\.csv.*those of the checkpoint"):
        train(folder)
    (folder / "history.csv").write_text(text)
    train(folder)
    for name in ("history.csv", "config.json", "result.json", "prompts/last/prompt.json"):
        text = (folder / name).read_text()
        (folder / name).write_text(changed(text))
        with pytest.raises(ps.PromptscopeError, match=name.rpartition("/")[2]):
            run = ps.load_run(folder)
            _ = run.history, run.result, run.prompt
        (folder / name).write_text(text)
    assert len(ps.load_run(folder).history) == ps.load_run(folder).result["steps"]


def changed(text: str) -> str:
    """Put another digit in the place of one in the middle."""
    at = next(i for i in range(len(text) // 2, len(text)) if text[i] in "12345678")
    return text[:at] + "9" + text[at + 1 :]


@pytest.mark.parametrize("cut", ["header", "cell", "line"])
def test_a_finished_run_whose_history_is_cut_says_so(cut: str, tmp_path: Path) -> None:
    """What was left of the file was taken for the whole: fewer steps, or a KeyError wherever a column was read."""
    train(tmp_path / "run")
    path = tmp_path / "run" / "history.csv"
    lines = path.read_text().splitlines(keepends=True)
    text = {"header": lines[0][:20], "cell": "".join(lines)[:-12], "line": "".join(lines[:-1])}[cut]
    path.write_text(text)
    with pytest.raises(ps.RunError, match=r"history\.csv.*again"):
        _ = ps.load_run(tmp_path / "run").history


def test_two_processes_cannot_train_in_one_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / ".lock"), pytest.raises(ps.RunError, match="another process"):
        train(tmp_path / "run")
    train(tmp_path / "run")


# --- what is wrong is said before a folder is made ---------------------------------------------------


def test_evaluation_needs_a_validation_split(tmp_path: Path) -> None:
    task = ps.Task.from_records(toy_rows(), verbalizer={"good": "positive", "bad": "negative"})
    with pytest.raises(ps.errors.TaskError, match=r"no split 'validation'.*with_splits"):
        train(tmp_path / "run", task=task, evaluate_every=2)
    assert not (tmp_path / "run").exists()


def test_prompt_longer_than_the_context(tmp_path: Path) -> None:
    with pytest.raises(ps.PromptError, match="64"):
        train(tmp_path / "run", prompt=ps.SoftPrompt(64))
    with pytest.raises(ps.TaskError, match="does not fit"):  # 60 + bos, sep, label, end leave no room for text
        train(tmp_path / "run", prompt=ps.SoftPrompt(61))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": None}, "either steps or epochs"),
        ({"steps": 2, "epochs": 1}, "either steps or epochs"),
        ({"steps": 0}, "steps must be a finite number above 0"),
        ({"steps": 2, "batch_size": 2.5}, "batch_size must be a whole number"),
        ({"steps": 2, "learning_rate": float("nan")}, "learning_rate must be a finite number above 0"),
        ({"steps": 2, "weight_decay": -1}, "weight_decay must be a finite number of at least 0"),
        ({"steps": 2, "warmup_steps": -1}, "warmup_steps"),
        ({"steps": 2, "betas": (0.9, 1.0)}, "betas"),
        ({"steps": 2, "seed": -1}, "seed"),
        ({"steps": 2, "optimizer": "sgd"}, "optimizer must be one of adamw, adam"),
        ({"steps": 2, "schedule": "step"}, "schedule must be one of constant, linear, cosine"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ps.RunError, match=message):
        unchecked(**settings)


def unchecked(**settings: Any) -> None:
    """Run the checks as a user has them, without the tests' type checks in front."""
    config = object.__new__(ps.TrainConfig)
    defaults = {name: field.default for name, field in ps.TrainConfig.__dataclass_fields__.items()}
    for name, value in {**defaults, **settings}.items():
        object.__setattr__(config, name, value)
    config.__post_init__()


# --- texts that are too long -------------------------------------------------------------------------


def test_text_is_cut_so_that_prompt_text_and_label_fit_the_context(tmp_path: Path) -> None:
    rows = toy_rows(4)
    rows[2]["text"] = " ".join(["story"] * 100)
    task = ps.Task.from_records(
        {"train": rows, "validation": rows}, verbalizer={"good": "positive", "bad": "very negative"}
    )
    run = train(tmp_path / "run", prompt=ps.DeepPrompt(20), task=task, evaluate_every=4)
    assert run.result["n_truncated"] == 1
    run = train(tmp_path / "shorter", prompt=ps.DeepPrompt(20), task=task, max_length=7)
    assert run.result["n_truncated"] == 4  # bos, sep, two label words and the end leave two words of text


# --- loss that is not finite -------------------------------------------------------------------------


def poisoned_at(step: int) -> Any:
    """Return `accumulate_gradient` with a loss of NaN in *step* (from 0)."""
    calls = 0

    def poisoned(*args: Any, **options: Any) -> float:
        nonlocal calls
        calls += 1
        return accumulate_gradient(*args) * (float("nan") if calls == step + 1 else 1)

    return poisoned


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "accumulate_gradient", poisoned_at(3))
    prompt = ps.SoftPrompt(3)
    with pytest.raises(ps.RunError) as error:
        train(tmp_path / "run", prompt=prompt, steps=6, schedule="linear", snapshot_every=1, batch_size=9)
    message = str(error.value)
    assert "step 4 of 6: loss nan" in message
    assert "learning rate 0.005" in message
    assert "train-" in message
    assert "prompts/last" in message
    # The update of step 3 led to the bad loss: the prompt before it is the last with a good one.
    last = ps.load_prompt(tmp_path / "run" / "prompts" / "last")
    assert last.content_hash() == prompt.content_hash()
    assert last.content_hash() == ps.load_prompt(tmp_path / "run" / "prompts" / "step-000002").content_hash()
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 1 + 3
    with pytest.raises(ps.RunError, match="not finished"):
        ps.load_run(tmp_path / "run")


def test_a_restart_after_that_does_not_spoil_the_last_good_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint holds the numbers whose loss is not finite."""
    saved = []
    for first_bad in (3, 0):
        monkeypatch.setattr(loop, "accumulate_gradient", poisoned_at(first_bad))
        with pytest.raises(ps.RunError, match="step 4 of 6"):
            train(tmp_path / "run", steps=6, snapshot_every=1, checkpoint_every=1)
        saved.append(ps.load_prompt(tmp_path / "run" / "prompts" / "last").content_hash())
    assert saved[0] == saved[1] == ps.load_prompt(tmp_path / "run" / "prompts" / "step-000002").content_hash()


def test_a_learning_rate_far_too_high_is_undone(tmp_path: Path) -> None:
    start, prompt = ps.SoftPrompt(3).bind(toy_model("gpt2")).content_hash(), ps.SoftPrompt(3)
    with pytest.raises(ps.RunError, match=r"step 1 of 4.*not finite after the update; learning rate 1e\+30.*train-"):
        train(tmp_path / "run", prompt=prompt, learning_rate=1e30)
    last = ps.load_prompt(tmp_path / "run" / "prompts" / "last", toy_model("gpt2"))
    assert last.content_hash() == prompt.content_hash() == start
    assert np.isfinite(ps.evaluate(toy_model("gpt2"), last, toy_task(), progress=False)["loss"])


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def poisoned(model: ps.HookedModel, prompt: ps.SoftPrompt, batches: Any, checkpointing: bool) -> float:
        loss = accumulate_gradient(model, prompt, batches)
        gradient: Tensor = prompt.embedding.grad
        gradient[0, 0] = float("inf")
        return loss

    monkeypatch.setattr(loop, "accumulate_gradient", poisoned)
    with pytest.raises(ps.RunError, match="gradient norm inf"):
        train(tmp_path / "run")
    start = ps.SoftPrompt(3).bind(toy_model("gpt2")).content_hash()
    assert ps.load_prompt(tmp_path / "run" / "prompts" / "last").content_hash() == start
