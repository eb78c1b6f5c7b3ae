"""A grid trains every prompt as if it were alone: numbers, folders, early stop, interruption."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import promptscope as ps
from promptscope.training import grid, loop
from tests.engine.counting import counting
from tests.old_t5 import PACKED_T5, REASON
from tests.training.toy import LONG_WORD, toy_model, toy_task, writing_task

# Llama takes its norms in float32 whatever the dtype.
TOLERANCE = {"gpt2": 1e-9, "bert": 1e-9, "t5": 1e-9, "llama": 1e-5}
BASE: dict[str, Any] = {"steps": 4, "batch_size": 4, "learning_rate": 0.05}


def config(**settings: Any) -> ps.TrainConfig:
    return ps.TrainConfig(**BASE | settings)


def mixed_runs() -> dict[str, ps.GridRun]:
    """Make runs that differ in all that may differ; new prompts at every call."""
    task, other = toy_task(), toy_task({"good": "great", "bad": "dull"}, n=6)
    v1, v2, best = ps.SoftPrompt, ps.DeepPrompt, {"evaluate_every": 2, "evaluate_limit": 6}
    return {
        "plain": ps.GridRun(v1(3), task, config()),
        "another seed": ps.GridRun(v1(3, seed=1), task, config(seed=7)),
        "rate": ps.GridRun(v1(3, seed=2), task, config(learning_rate=0.5, weight_decay=0.1, betas=(0.8, 0.9))),
        "another task": ps.GridRun(v1(3, seed=3), other, config(steps=3, **best)),
        "clipped": ps.GridRun(v1(3, seed=4), task, config(max_grad_norm=1e-3, schedule="linear", warmup_steps=2)),
        "accumulated": ps.GridRun(v1(3, seed=5), task, config(batch_size=3, accumulation=2, optimizer="adam")),
        "stops early": ps.GridRun(v1(3), task, config(steps=9, evaluate_every=1, patience=2, learning_rate=1e-9)),
        "longer": ps.GridRun(v1(5), task, config(schedule="cosine", **best)),
        "deep": ps.GridRun(v2(3), task, config(**best, snapshot_every=2)),
        "deep, another seed": ps.GridRun(v2(3, seed=1), task, config(batch_size=2, epochs=1, steps=None)),
        "tied": ps.GridRun(v2(3, tied=True), task, config(gradient_checkpointing=True)),
        "in some layers": ps.GridRun(v2(3, layers=[0, 2]), task, config(max_length=6)),
    }


def assert_same(got: ps.Run, alone: ps.Run, tolerance: float) -> None:
    """Compare history, prompts, result and the names of all files."""
    history, expected = (run.history.drop(columns="seconds") for run in (got, alone))
    pd.testing.assert_frame_equal(history, expected, rtol=tolerance, atol=tolerance)
    for name in ("last", "best", "step-000000", "step-000002"):
        folders = [run.folder / "prompts" / name for run in (got, alone)]
        assert folders[0].is_dir() == folders[1].is_dir()
        if folders[0].is_dir():
            ours, theirs = (ps.load_prompt(folder).state_dict() for folder in folders)
            torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    assert got.description == alone.description
    # The history holds seconds; prompts are equal up to rounding, so their checksums differ, but not which there are.
    ignored = ("seconds", "history_sha256", "prompts", "final_loss", "best_validation")
    assert set(got.result["prompts"]) == set(alone.result["prompts"])
    ours, theirs = ({k: v for k, v in run.result.items() if k not in ignored} for run in (got, alone))
    assert ours == theirs
    best = [run.result["best_validation"] for run in (got, alone)]
    assert best[0] == (None if best[1] is None else pytest.approx(best[1], rel=tolerance))
    files = [{str(path.relative_to(run.folder)) for path in run.folder.rglob("*")} for run in (got, alone)]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    "family", [one if one in ("gpt2", "t5") else pytest.param(one, marks=pytest.mark.slow) for one in TOLERANCE]
)
def test_every_run_is_what_it_is_alone(family: str, tmp_path: Path) -> None:
    if family == "t5" and not PACKED_T5:
        pytest.skip(REASON)
    model = toy_model(family, torch.float64)
    alone = {
        name: ps.train(model, run.prompt, run.task, run.config, tmp_path / "alone" / name, progress=False)
        for name, run in mixed_runs().items()
    }
    runs = mixed_runs()
    together = ps.train_grid(model, runs, tmp_path / "grid", rows_per_pass=16, progress=False)
    assert list(together) == list(runs)
    for name, run in together.items():
        assert run.folder == tmp_path / "grid" / name
        assert_same(run, alone[name], TOLERANCE[family])
        assert runs[name].prompt.content_hash() == run.prompt.content_hash()
    assert together["stops early"].result["stopped_early"]
    assert len(together["stops early"].history) < 9
    assert together["clipped"].history["grad_norm"].min() > 1e-3
    start = ps.SoftPrompt(3).bind(model)
    assert (together["plain"].prompt.embedding - start.embedding).abs().max() > 0.01


@pytest.mark.parametrize("rows_per_pass", [1, 7, 64])
def test_rows_per_pass_change_nothing(rows_per_pass: int, tmp_path: Path) -> None:
    model = toy_model("gpt2", torch.float64)

    def runs() -> dict[str, ps.GridRun]:
        kinds = {"a": ps.SoftPrompt(3), "b": ps.SoftPrompt(3, seed=1), "c": ps.DeepPrompt(3), "d": ps.DeepPrompt(3)}
        return {name: ps.GridRun(prompt, toy_task(), config(seed=i)) for i, (name, prompt) in enumerate(kinds.items())}

    got = ps.train_grid(model, runs(), tmp_path / "grid", rows_per_pass, progress=False)
    for name, run in runs().items():
        assert_same(got[name], ps.train(model, run.prompt, run.task, run.config, tmp_path / name, False), 1e-9)


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_tasks_of_other_shapes_share_passes(family: str, tmp_path: Path) -> None:
    model = toy_model(family, torch.float64)
    tasks = {"words": toy_task(), "long words": toy_task(LONG_WORD), "writing": writing_task()}

    def runs() -> dict[str, ps.GridRun]:
        return {name: ps.GridRun(ps.SoftPrompt(3), task, config()) for name, task in tasks.items()}

    got = ps.train_grid(model, runs(), tmp_path / "grid", progress=False)
    for name, run in runs().items():
        assert_same(got[name], ps.train(model, run.prompt, run.task, run.config, tmp_path / name, False), 1e-9)


def test_on_the_plain_way_too(tmp_path: Path) -> None:
    model, prompts = toy_model("gpt2", torch.float64), [ps.SoftPrompt(3, seed=i) for i in range(2)]
    runs = {str(i): ps.GridRun(prompt.copy(), toy_task(), config()) for i, prompt in enumerate(prompts)}
    with ps.execution(packed=False):
        got = ps.train_grid(model, runs, tmp_path / "grid", progress=False)
    for i, prompt in enumerate(prompts):
        assert_same(got[str(i)], ps.train(model, prompt, toy_task(), config(), tmp_path / str(i), False), 1e-9)


def test_one_forward_for_all_runs() -> None:
    model = toy_model("gpt2", torch.float64)
    runs = {f"seed {i}": ps.GridRun(ps.SoftPrompt(3, seed=i), toy_task(), config(steps=2)) for i in range(6)}
    with counting(model) as counts:
        ps.train_grid(model, runs, rows_per_pass=24, progress=False)
    assert counts.logits == [6 * 4 * 2] * 2  # two steps
    two_kinds = {"v1": runs["seed 0"], "v2": ps.GridRun(ps.DeepPrompt(3), toy_task(), config())}
    with counting(model) as counts:
        ps.train_grid(model, two_kinds, progress=False)
    assert len(counts.body) == 2 + 4  # a pass for each


def test_finished_runs_are_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = toy_model("gpt2")

    def runs(*seeds: int) -> dict[str, ps.GridRun]:
        return {str(i): ps.GridRun(ps.SoftPrompt(3, seed=i), toy_task(), config()) for i in seeds}

    first = ps.train_grid(model, runs(0, 1), tmp_path, progress=False)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    made: list[loop.Loop] = []
    real = loop.Loop.__init__
    monkeypatch.setattr(loop.Loop, "__init__", lambda self, *args: (made.append(self), real(self, *args))[1])
    again = runs(0, 1, 2)
    second = ps.train_grid(model, again, tmp_path, progress=False)
    assert len(made) == 1
    assert {path: path.stat().st_mtime_ns for path in written if path.name != str(tmp_path)} == written
    for name, run in first.items():
        assert again[name].prompt.content_hash() == second[name].prompt.content_hash() == run.prompt.content_hash()
    # A run of a grid is a run: the single call knows it, and the other way round.
    prompt = ps.SoftPrompt(3, seed=1)
    assert ps.train(model, prompt, toy_task(), config(), tmp_path / "1", progress=False).folder == first["1"].folder
    assert len(made) == 1
    assert prompt.content_hash() == first["1"].prompt.content_hash()


class StopHalfwayError(Exception):
    """What stops a grid half way."""


@pytest.mark.parametrize("after", [1, 4])
def test_an_interrupted_grid_goes_on(after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = toy_model("gpt2", torch.float64)

    def runs() -> dict[str, ps.GridRun]:
        often = {"evaluate_every": 2, "evaluate_limit": 4, "checkpoint_every": 2}
        return {
            "short": ps.GridRun(ps.SoftPrompt(3), toy_task(), config(steps=3, **often)),
            "patient": ps.GridRun(ps.SoftPrompt(3), toy_task(), config(steps=9, patience=2, **often)),
            "long": ps.GridRun(ps.SoftPrompt(3, seed=1), toy_task(), config(steps=7, schedule="linear", **often)),
            "deep": ps.GridRun(ps.DeepPrompt(3), toy_task(), config(steps=6, checkpoint_every=1)),
        }

    whole = ps.train_grid(model, runs(), tmp_path / "whole", progress=False)
    steps, real = 0, grid._step_together

    def interrupted(*args: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == after + 1:
            raise StopHalfwayError
        return real(*args)

    monkeypatch.setattr(grid, "_step_together", interrupted)
    with pytest.raises(StopHalfwayError):
        ps.train_grid(model, runs(), tmp_path / "grid", progress=False)
    monkeypatch.undo()
    for name, run in ps.train_grid(model, runs(), tmp_path / "grid", progress=False).items():
        assert_same(run, whole[name], 1e-9)


@pytest.mark.parametrize("which", ["short", "stopped"])
def test_stopped_between_a_runs_last_step_and_its_result(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run has all its steps; only the result is missing, and no step may come on top."""
    model = toy_model("gpt2", torch.float64)
    stop = {"steps": 9, "evaluate_every": 1, "patience": 2, "learning_rate": 1e-9, "evaluate_limit": 2}

    def runs() -> dict[str, ps.GridRun]:
        return {
            "short": ps.GridRun(ps.SoftPrompt(3), toy_task(), config(steps=3)),
            "stopped": ps.GridRun(ps.SoftPrompt(3), toy_task(), config(**stop)),
            "long": ps.GridRun(ps.SoftPrompt(3, seed=1), toy_task(), config(steps=5, checkpoint_every=1)),
        }

    whole = ps.train_grid(model, runs(), tmp_path / "whole", progress=False)
    real = loop.Loop.write_result

    def write_result(self: loop.Loop, counts: dict[str, int]) -> None:
        if self.folder.name == which:
            raise StopHalfwayError
        real(self, counts)

    monkeypatch.setattr(loop.Loop, "write_result", write_result)
    with pytest.raises(StopHalfwayError):
        ps.train_grid(model, runs(), tmp_path / "grid", progress=False)
    monkeypatch.undo()
    for name, run in ps.train_grid(model, runs(), tmp_path / "grid", progress=False).items():
        assert_same(run, whole[name], 1e-9)


def test_one_run_that_fails_is_named_and_the_others_finish(tmp_path: Path) -> None:
    model = toy_model("gpt2", torch.float64)

    def runs() -> dict[str, ps.GridRun]:
        rates = {"good": 0.05, "far too high": 1e200, "also good": 0.5}
        return {
            name: ps.GridRun(ps.SoftPrompt(3, seed=i), toy_task(), config(learning_rate=rate))
            for i, (name, rate) in enumerate(rates.items())
        }

    with pytest.raises(ps.RunError) as error:
        ps.train_grid(model, runs(), tmp_path / "grid", progress=False)
    message = str(error.value)
    assert "1 of 3 runs failed, the others are finished" in message
    assert "far too high: training stopped at step " in message
    assert "learning rate 1e+200" in message
    for name in ("good", "also good"):
        run = runs()[name]
        alone = ps.train(model, run.prompt, run.task, run.config, tmp_path / name, progress=False)
        assert_same(ps.load_run(tmp_path / "grid" / name), alone, 1e-9)
    with pytest.raises(ps.RunError, match="not finished"):
        ps.load_run(tmp_path / "grid" / "far too high")
    with pytest.raises(ps.RunError) as alone_error:
        run = runs()["far too high"]
        ps.train(model, run.prompt, run.task, run.config, tmp_path / "far too high", progress=False)
    said = str(alone_error.value).split(". The last good prompt")[0]
    assert said in message
    last = [ps.load_prompt(tmp_path / where / "far too high" / "prompts" / "last") for where in ("grid", "")]
    torch.testing.assert_close(last[0].state_dict(), last[1].state_dict(), rtol=1e-9, atol=1e-9)


# --- what is refused ---------------------------------------------------------------------------------


@pytest.fixture
def nothing_is_written(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "grid"
    assert not (tmp_path / "grid").exists()
    assert not list(tmp_path.iterdir())


def one(prompt: ps.Prompt | None = None, task: ps.Task | None = None, **settings: Any) -> ps.GridRun:
    return ps.GridRun(prompt or ps.SoftPrompt(3), task or toy_task(), config(**settings))


def test_one_prompt_in_two_runs(nothing_is_written: Path) -> None:
    prompt = ps.SoftPrompt(3)
    with pytest.raises(ps.RunError, match=r"same prompt object.*prompt\.copy"):
        ps.train_grid(toy_model("gpt2"), {"a": one(prompt), "b": one(prompt, seed=1)}, nothing_is_written)


@pytest.mark.parametrize("name", ["a/b", "/a", "a/", "", ".", ".."])
def test_names_that_are_no_folder_names(name: str, nothing_is_written: Path) -> None:
    with pytest.raises(ps.RunError, match="name of its folder"):
        ps.train_grid(toy_model("gpt2"), {"good": one(), name: one()}, nothing_is_written)


def test_no_rows(nothing_is_written: Path) -> None:
    with pytest.raises(ps.PromptscopeError, match="rows_per_pass must be at least 1, got 0"):
        ps.train_grid(toy_model("gpt2"), {"a": one()}, nothing_is_written, rows_per_pass=0)


def test_a_run_that_cannot_begin_is_found_before_any_trains(nothing_is_written: Path) -> None:
    with pytest.raises(ps.PromptError, match="64"):
        ps.train_grid(toy_model("gpt2"), {"good": one(), "too long": one(ps.SoftPrompt(64))}, nothing_is_written)


def test_no_runs(tmp_path: Path) -> None:
    assert ps.train_grid(toy_model("gpt2"), {}, tmp_path, progress=False) == {}


def test_other_settings_in_the_same_folder(tmp_path: Path) -> None:
    ps.train_grid(toy_model("gpt2"), {"a": one()}, tmp_path, progress=False)
    with pytest.raises(ps.RunError, match=r"config\.learning_rate: 0\.05 there, 0\.1 now"):
        ps.train_grid(toy_model("gpt2"), {"a": one(learning_rate=0.1), "b": one()}, tmp_path, progress=False)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("name", ["config.json", "history.csv", "result.json", "prompts/last/prompt.json"])
def test_a_damaged_folder_is_one_runs_failure(name: str, tmp_path: Path) -> None:
    """What was made hours ago and cannot be read now is named; the other runs are trained all the same."""
    model = toy_model("gpt2")
    runs = {f"seed {i}": ps.GridRun(ps.SoftPrompt(2, seed=i), toy_task(), config(seed=i)) for i in range(2)}
    ps.train_grid(model, {"seed 0": runs["seed 0"]}, out=tmp_path, progress=False)
    path = tmp_path / "seed 0" / name
    path.write_text(path.read_text().replace("1", "2"))
    again = {name: ps.GridRun(ps.SoftPrompt(2, seed=i), toy_task(), config(seed=i)) for i, name in enumerate(runs)}
    with pytest.raises(ps.GridError, match=r"seed 0.*damaged") as error:
        ps.train_grid(model, again, out=tmp_path, progress=False)
    assert list(error.value.failed) == ["seed 0"]
    assert len(ps.load_run(tmp_path / "seed 1").history) == 4


def test_history_is_finite_and_ordered() -> None:
    runs = ps.train_grid(toy_model("gpt2"), {"a": one(), "b": one(seed=1)}, progress=False)
    for run in runs.values():
        assert run.history["step"].tolist() == [1, 2, 3, 4]
        assert all(map(math.isfinite, run.history["loss"]))
        assert np.all(np.diff(run.history["seconds"]) >= 0)
