"""A checkpoint that is not what was written does not train on."""

import json

import jaxtyping
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import promptscope as ps
from promptscope.training.checkpoint import read_checkpoint, write_checkpoint


@pytest.fixture
def written(tmp_path):
    prompt = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(prompt.parameters())
    prompt(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    path = tmp_path / "checkpoint.safetensors"
    write_checkpoint(path, prompt, optimizer, {"step": 7})
    return path, prompt, optimizer


def test_what_was_written_is_read(written) -> None:
    path, prompt, optimizer = written
    assert read_checkpoint(path, prompt, optimizer) == {"step": 7}


@pytest.mark.parametrize("name", ["prompt/weight", "optimizer/0/exp_avg", "rng/torch"])
def test_one_bit_of_the_numbers(written, name) -> None:
    path, prompt, optimizer = written
    with safe_open(str(path), "pt") as file:
        tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 - not a dict
        metadata = file.metadata()
    tensors[name].view(torch.uint8).flatten()[0] ^= 1
    save_file(tensors, str(path), metadata)
    with pytest.raises(ps.RunError, match=r"is damaged .*checksum"):
        read_checkpoint(path, prompt, optimizer)


def test_another_step(written) -> None:
    path, prompt, optimizer = written
    with safe_open(str(path), "pt") as file:
        tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 - not a dict
        metadata = file.metadata()
    save_file(tensors, str(path), {**metadata, "progress": json.dumps({"step": 3})})
    with pytest.raises(ps.RunError, match=r"is damaged .*checksum"):
        read_checkpoint(path, prompt, optimizer)


def test_a_rate_that_the_numbers_cannot_hold_is_an_error_of_the_run(tmp_path) -> None:
    model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    good, bad = (ps.TrainConfig(steps=1, batch_size=2, learning_rate=rate) for rate in (0.01, 1e38))
    runs = {"good": ps.GridRun(ps.SoftPrompt(2), task, good), "bad": ps.GridRun(ps.SoftPrompt(2), task, bad)}
    with pytest.raises(ps.GridError) as error:
        ps.train_grid(model, runs, out=tmp_path, progress=False)
    assert list(error.value.failed) == ["bad"]
    assert "Lower the learning rate" in str(error.value)
    assert ps.load_run(tmp_path / "good").result["steps"] == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": "10"},
        {"steps": 10.0},
        {"steps": True},
        {"steps": 10, "batch_size": 16.0},
        {"steps": 10, "batch_size": None},
        {"steps": 10, "learning_rate": "1e-3"},
        {"steps": 10, "learning_rate": float("nan")},
        {"steps": 10, "betas": 0.9},
        {"steps": 10, "betas": ("a", "b")},
        {"steps": 10, "betas": (0.9,)},
        {"steps": 10, "schedule": None},
        {"steps": 10, "padding": "Right"},
        {"steps": 10, "seed": 0.5},
        {"steps": 10, "gradient_checkpointing": 1},
        {"epochs": 1e300},
        {"epochs": "3"},
    ],
)
def test_settings_are_of_their_kind(settings, monkeypatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the checks of tests would come first
    with pytest.raises(ps.RunError):
        ps.TrainConfig(**settings)
