"""Early stop: after so many evaluations without a better one, and no step later."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import promptscope as ps
from promptscope.training import loop
from tests.training.toy import toy_model, toy_task


def train(out: Path, **settings: Any) -> ps.Run:
    config = ps.TrainConfig(**{"steps": 20, "batch_size": 4, "evaluate_every": 2, "snapshot_every": 2} | settings)
    return ps.train(toy_model("gpt2"), ps.SoftPrompt(3), toy_task(), config, out, progress=False)


def scoring(monkeypatch: pytest.MonkeyPatch, metrics: Sequence[float]) -> None:
    coming = iter(metrics)
    monkeypatch.setattr(loop.Evaluator, "scores", lambda self, progress: {"accuracy": next(coming), "loss": 1.0})


@pytest.mark.parametrize(
    ("metrics", "patience", "steps", "best"),
    [
        ([0.5, 0.4, 0.4], 2, 6, 2),
        ([0.5, 0.5, 0.5, 0.9], 2, 6, 2),  # as good is not better
        ([0.1, 0.0, 0.2, 0.1, 0.1], 2, 10, 6),  # a better one begins the count again
        ([0.5, float("nan")], 1, 4, 2),
        ([float("nan")] * 3, 3, 6, None),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0], 1, 20, 20),
    ],
)
def test_when_it_stops(
    metrics: list[float],
    patience: int,
    steps: int,
    best: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scoring(monkeypatch, metrics)
    run = train(tmp_path / "run", patience=patience)
    assert len(run.history) == run.result["steps"] == steps
    assert run.result["stopped_early"] == (steps < 20)
    assert run.prompt.content_hash() == run.snapshots[steps].content_hash()
    if best is None:
        with pytest.raises(ps.RunError, match="evaluate_every"):
            _ = run.best_prompt
    else:
        assert run.best_prompt.content_hash() == run.snapshots[best].content_hash()
        assert run.result["best_validation"] == metrics[best // 2 - 1]


def test_steps_before_the_stop_are_those_of_a_run_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Schedules are those of all steps: nobody knows before when a run will stop."""
    scoring(monkeypatch, [0.5, 0.4, 0.4])
    stopped = train(tmp_path / "stopped", patience=2, schedule="cosine")
    scoring(monkeypatch, [0.5, 0.4, 0.4] + [0.3] * 7)
    whole = train(tmp_path / "whole", schedule="cosine")
    assert len(whole.history) == 20
    for name in ("loss", "learning_rate", "grad_norm"):
        assert stopped.history[name].tolist() == whole.history[name].tolist()[:6]
    assert stopped.prompt.content_hash() == whole.snapshots[6].content_hash()


def test_patience_survives_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scoring(monkeypatch, [0.5, 0.4, 0.4, 0.9])
    real = loop.Loop.prepare
    monkeypatch.setattr(loop.Loop, "prepare", lambda self: real(self) if self.step < 4 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "run", patience=2, checkpoint_every=1)
    monkeypatch.setattr(loop.Loop, "prepare", real)
    assert len(train(tmp_path / "run", patience=2, checkpoint_every=1).history) == 6  # one stale before, one after


@pytest.mark.parametrize("patience", [1, 2])
def test_a_stopped_run_without_its_result_only_gets_that(
    patience: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scoring(monkeypatch, [0.5, 0.4, 0.4])
    monkeypatch.setattr(loop.Loop, "write_result", lambda self, counts: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "run", patience=patience)
    monkeypatch.undo()
    monkeypatch.setattr(loop, "accumulate_gradient", None)  # any step would fail
    assert len(train(tmp_path / "run", patience=patience).history) == 2 + 2 * patience


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patience": 0, "evaluate_every": 1}, "patience must be a finite number above 0"),
        ({"patience": 2}, "patience=2 counts evaluations and needs evaluate_every"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ps.RunError, match=message):
        ps.TrainConfig(steps=2, **settings)
