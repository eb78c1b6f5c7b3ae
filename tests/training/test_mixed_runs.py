"""Each file of a run is whole, and they are of several runs: refused, before a number is read from them."""

import shutil
from pathlib import Path

import pytest

import promptscope as ps
from promptscope.comparison import read_vectors
from promptscope.training import loop
from tests.training.toy import toy_model, toy_task

SETTINGS = {"steps": 4, "batch_size": 4, "evaluate_every": 2, "snapshot_every": 2, "checkpoint_every": 2}


def train(out: Path, seed: int = 0) -> ps.Run:
    config = ps.TrainConfig(**SETTINGS, seed=seed)
    return ps.train(toy_model("gpt2"), ps.SoftPrompt(3, seed=seed), toy_task(), config, out=out, progress=False)


def interrupted(out: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until the third step, which is beyond the checkpoint after the second."""
    update = loop.Loop.update

    def stop(self: loop.Loop, *arguments: float) -> dict[str, str]:
        if self.step == 2:
            raise KeyboardInterrupt
        return update(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(loop.Loop, "update", stop)
        with pytest.raises(KeyboardInterrupt):
            train(out, seed)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folders = (tmp_path_factory.mktemp("a"), tmp_path_factory.mktemp("b"))
    for seed, folder in enumerate(folders):
        train(folder, seed)
    return folders


def put(names: tuple[str, ...], source: Path, target: Path) -> None:
    for name in names:
        if (source / name).is_dir():
            shutil.rmtree(target / name)
            shutil.copytree(source / name, target / name)
        else:
            shutil.copy(source / name, target / name)


def read_all(folder: Path) -> None:
    run = ps.load_run(folder)
    _ = run.config, run.history, run.prompt, run.best_prompt, run.snapshots


@pytest.mark.parametrize(
    "names",
    [
        ("prompts/last",),
        ("prompts/best",),
        ("prompts/step-000002",),
        ("prompts",),
        ("config.json",),
        ("history.csv", "result.json"),
        ("prompts", "history.csv", "result.json"),
        ("config.json", "history.csv", "result.json"),
    ],
)
def test_files_of_another_finished_run(names: tuple[str, ...], finished: tuple[Path, Path], tmp_path: Path) -> None:
    mine, others = finished
    shutil.copytree(mine, tmp_path / "run")
    read_all(tmp_path / "run")
    put(names, others, tmp_path / "run")
    with pytest.raises(ps.RunError, match=r"is of another run, or of another step"):
        read_all(tmp_path / "run")


def test_a_prompt_of_another_step(finished: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(finished[0], tmp_path / "run")
    prompts = tmp_path / "run" / "prompts"
    shutil.copytree(prompts / "step-000002", prompts / "step-mine")
    with pytest.raises(ps.RunError, match=r"step-mine' is no prompt of this run"):
        _ = ps.load_run(tmp_path / "run").snapshots
    shutil.rmtree(prompts / "step-000004")
    (prompts / "step-mine").rename(prompts / "step-000004")
    with pytest.raises(ps.RunError, match=r"prompts/step-000004 in .* is of another run, or of another step"):
        _ = ps.load_run(tmp_path / "run").snapshots


def test_a_snapshot_that_is_gone_is_named(finished: tuple[Path, Path], tmp_path: Path) -> None:
    """A curve along training with a point less would look like any other curve."""
    shutil.copytree(finished[0], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "prompts" / "step-000002")
    with pytest.raises(ps.RunError, match=r"has no prompts/step-000002, which training left there"):
        _ = ps.load_run(tmp_path / "run").snapshots


def test_a_comparison_leaves_it_out(finished: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("right", "mixed"):
        shutil.copytree(finished[0], tmp_path / name)
    put(("prompts/last",), finished[1], tmp_path / "mixed")
    prompts, left_out = read_vectors(tmp_path)
    assert [prompt.name for prompt in prompts] == ["right"]
    assert "is of another run" in left_out["mixed"]


@pytest.mark.parametrize("names", [("checkpoint.safetensors", "history.csv"), ("prompts/best",)])
def test_files_of_another_interrupted_run(
    names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, name in enumerate("ab"):
        interrupted(tmp_path / name, seed, monkeypatch)
    best = ps.load_prompt(tmp_path / "a" / "prompts" / "best").content_hash()
    assert ps.load_prompt(tmp_path / "b" / "prompts" / "best").content_hash() != best
    put(names, tmp_path / "b", tmp_path / "a")
    with pytest.raises(ps.RunError, match=r"is of another run"):
        _ = train(tmp_path / "a").best_prompt
        pytest.fail(f"step 4 was better: {ps.load_run(tmp_path / 'a').result}")


@pytest.mark.parametrize("text", ["[]", "{}", "null", "1"])
def test_a_result_that_is_json_and_no_result(text: str, finished: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(finished[0], tmp_path / "run")
    (tmp_path / "run" / "result.json").write_text(text)
    with pytest.raises(ps.RunError, match=r"result\.json .* is damaged"):
        ps.load_run(tmp_path / "run")
