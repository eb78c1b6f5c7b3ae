"""Runs in worker processes: the numbers of `ps.train`, restarts that repeat nothing, failures that stop nobody."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest
import torch

import promptscope as ps
from promptscope.training import jobs
from tests.tiny_models import tiny_hf_model
from tests.tiny_tokenizer import tiny_tokenizer
from tests.training.toy import VOCAB, toy_model, toy_task

CONFIG = ps.TrainConfig(steps=3, batch_size=4, learning_rate=0.05)


def models_loaded() -> int:
    """Count the models that this process has loaded for runs."""
    return jobs._model.cache_info().misses


class Deadly(ps.SoftPrompt):
    """A prompt that ends the process that trains it."""

    def _create(self, *args: Any) -> None:
        os._exit(3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model")
    tiny_hf_model("gpt2", vocab=VOCAB).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return str(path)


@pytest.fixture(autouse=True)
def no_model_yet() -> None:
    jobs._model.cache_clear()


def three(folder: str, **changes: Any) -> dict[str, ps.RunConfig]:
    config = replace(CONFIG, **changes)
    return {f"seed {i}": ps.RunConfig(folder, ps.SoftPrompt(3, seed=i), toy_task(), config) for i in range(3)}


def check_numbers(done: ps.ManyRuns) -> None:
    """Compare with `ps.train`, run by run."""
    for i, (name, run) in enumerate(done.runs.items()):
        alone = ps.train(toy_model("gpt2"), ps.SoftPrompt(3, seed=i), toy_task(), CONFIG, progress=False)
        assert name == run.folder.name == f"seed {i}"
        torch.testing.assert_close(run.prompt.state_dict(), alone.prompt.state_dict(), rtol=1e-5, atol=1e-6)
        pd.testing.assert_frame_equal(run.history.drop(columns="seconds"), alone.history.drop(columns="seconds"))


def test_the_numbers_are_those_of_train_and_the_prompts_stay(folder: str, tmp_path: Path) -> None:
    runs = three(folder)
    done = ps.train_many(runs, tmp_path, progress=False)
    assert list(done.runs) == list(runs) and done.failed.empty and done.n_skipped == 0
    check_numbers(done)
    assert not any(run.prompt.is_bound for run in runs.values())


@pytest.mark.slow
def test_in_two_processes(folder: str, tmp_path: Path) -> None:
    done = ps.train_many(three(folder), tmp_path, n_jobs=2, progress=False)
    assert done.failed.empty and len(done.runs) == 3
    check_numbers(done)


def test_finished_runs_need_not_even_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = ps.load_task("continent_en")
    runs = {
        f"seed {i}": ps.RunConfig("embedded-causal", ps.SoftPrompt(3, seed=i), task, replace(CONFIG, steps=1))
        for i in range(3)
    }
    ps.train_many(runs, tmp_path, progress=False)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    (tmp_path / "seed 1" / "result.json").unlink()  # interrupted just before its end
    ps.train_many(runs, tmp_path, progress=True)
    assert "3/3" in capsys.readouterr().err
    monkeypatch.setattr(jobs, "load_model", None)
    jobs._model.cache_clear()
    again = ps.train_many(runs, tmp_path, progress=False)
    assert (again.n_skipped, len(again.runs), len(again.failed)) == (3, 3, 0)
    changed = {p for p, at in before.items() if p.exists() and p.stat().st_mtime_ns != at}
    assert changed <= {path for path in before if "seed 1" in str(path)}


def test_a_folder_that_was_written_again_is_another_model(folder: str, tmp_path: Path) -> None:
    mine = tmp_path / "model"
    shutil.copytree(folder, mine)
    done = ps.train_many(three(str(mine)), tmp_path / "runs", progress=False)
    again = ps.train_many(three(str(mine)), tmp_path / "runs", progress=False)
    assert (done.n_skipped, again.n_skipped, again.failed.empty) == (0, 3, True)
    other = tiny_hf_model("gpt2", vocab=VOCAB)
    for layer in other.transformer.h:
        layer.mlp.c_fc.weight.data.mul_(3)
    other.save_pretrained(mine)
    refused = ps.train_many(three(str(mine)), tmp_path / "runs", progress=False)
    assert (refused.n_skipped, list(refused.runs)) == (0, [])
    assert refused.failed["reason"].str.contains("weights_hash").all()
    fresh = ps.train_many(three(str(mine)), tmp_path / "others", progress=False)
    assert fresh.runs["seed 0"].history["loss"][0] != done.runs["seed 0"].history["loss"][0]


@pytest.mark.parametrize("change", ["config", "init", "seed", "model", "numbers", "task"])
def test_other_settings_in_the_folder_are_no_finished_run(change: str, folder: str, tmp_path: Path) -> None:
    ps.train_many(three(folder), tmp_path, progress=False)
    run = three(folder)["seed 1"]
    other = ps.SoftPrompt(3, seed=1).bind(toy_model("gpt2"))
    other.embedding.data += 1.0
    new = {
        "config": replace(run, config=replace(CONFIG, learning_rate=0.5)),
        "init": replace(run, prompt=ps.SoftPrompt(3, init="vocab", seed=1)),
        "seed": replace(run, prompt=ps.SoftPrompt(3, seed=2)),
        "model": replace(run, model="embedded-causal"),
        "numbers": replace(run, prompt=other),
        "task": replace(run, task=toy_task(n=6)),
    }[change]
    done = ps.train_many(three(folder) | {"seed 1": new}, tmp_path, progress=False)
    assert list(done.runs) == ["seed 0", "seed 2"]
    assert done.failed["run"].tolist() == ["seed 1"] and "other settings" in done.failed["reason"].item()


def test_what_fails_is_named_with_its_reason_and_stops_no_other(folder: str, tmp_path: Path) -> None:
    run = three(folder)["seed 0"]
    without_train = replace(toy_task(), splits={"test": toy_task().split("test")})
    bad = {"no model": replace(run, model="no/such/folder"), "no split": replace(run, task=without_train)}
    done = ps.train_many(bad | three(folder), tmp_path, progress=False)
    assert list(done.runs) == ["seed 0", "seed 1", "seed 2"]
    assert done.failed[["run", "error"]].values.tolist() == [["no model", "ModelError"], ["no split", "TaskError"]]
    assert "no/such/folder" in done.failed["reason"][0] and "train" in done.failed["reason"][1]


@pytest.mark.slow
def test_a_worker_that_dies_leaves_a_table(folder: str, tmp_path: Path) -> None:
    runs = three(folder) | {"deadly": ps.RunConfig(folder, Deadly(3), toy_task(), CONFIG)}
    done = ps.train_many(runs, tmp_path, n_jobs=2, progress=False)
    assert "deadly" in set(done.failed["run"])
    assert "the workers stopped" in done.failed.set_index("run").loc["deadly", "reason"]
    assert set(done.runs) | set(done.failed["run"]) == set(runs)


def test_a_name_must_be_a_folder_name(folder: str, tmp_path: Path) -> None:
    with pytest.raises(ps.RunError, match="a/b"):
        ps.train_many({"a/b": three(folder)["seed 0"]}, tmp_path)


def test_the_backend_of_the_caller_is_used(folder: str, tmp_path: Path) -> None:
    with joblib.parallel_config(backend="threading", n_jobs=2):
        done = ps.train_many(three(folder), tmp_path, progress=False)
    assert done.failed.empty
    check_numbers(done)


@pytest.mark.slow
def test_on_a_dask_cluster(folder: str, tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    runs = {"no model": replace(three(folder)["seed 0"], model="no/such/folder")} | three(folder)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
        joblib.parallel_config(backend="dask"),
    ):
        done = ps.train_many(runs, tmp_path, progress=False)
        loaded = client.run(models_loaded)
        again = ps.train_many(runs, tmp_path, progress=False)
    assert sum(loaded.values()) >= 1 and models_loaded() == 0  # by the workers, and not here
    assert len(loaded) == 2
    assert done.failed[["run", "error"]].values.tolist() == [["no model", "ModelError"]]
    assert (again.n_skipped, list(again.runs)) == (3, list(three(folder)))
    check_numbers(done)


def test_runs_under_hooks(folder: str, tmp_path: Path) -> None:
    hooks = [("blocks.1.attn.hook_z", lambda x, hook: x * 3)]
    for _ in range(2):
        done = ps.train_many(three(folder), tmp_path, progress=False, hooks=hooks)
        assert done.failed.empty
        alone = ps.train(toy_model("gpt2"), ps.SoftPrompt(3), toy_task(), CONFIG, progress=False, hooks=hooks)
        pd.testing.assert_series_equal(done.runs["seed 0"].history["loss"], alone.history["loss"], rtol=1e-4)
    assert done.n_skipped == 3
    clean = ps.train_many(three(folder), tmp_path, progress=False)
    assert clean.failed["reason"].str.contains("hooks").all() and len(clean.failed) == 3
