"""Weights that are edited between two calls: every computation begins with what they are now."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import promptscope as ps
from promptscope.engine import can_prepack, execution
from promptscope.models import HookedModel
from tests.tiny_models import tiny_hf_model
from tests.tiny_tokenizer import tiny_tokenizer
from tests.training.toy import VOCAB, toy_task

Compute = Callable[[HookedModel, Path], object]


def scores(model: HookedModel, folder: Path) -> np.ndarray:
    return ps.score_labels(model, ps.SoftPrompt(3), toy_task(), progress=False).numpy()


def texts(model: HookedModel, folder: Path) -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, VOCAB, (8, 6), generator=generator)
    return np.array(ps.generate(model, ps.SoftPrompt(3), ids, max_new_tokens=6))


def losses(model: HookedModel, folder: Path) -> np.ndarray:
    name = f"run-{len(list(folder.iterdir()))}"
    config = ps.TrainConfig(steps=2, batch_size=4, learning_rate=0.1)
    run = ps.train(model, ps.SoftPrompt(3), toy_task(), config, folder / name, progress=False)
    return run.history["loss"].to_numpy()


def statistic(model: HookedModel, folder: Path) -> np.ndarray:
    result = ps.probe(model, ps.SoftPrompt(3), toy_task(), "attention_kl", store=folder / "store", progress=False)
    return result["attention_kl"].values


def worth(model: HookedModel, folder: Path) -> np.ndarray:
    return ps.importance(model, ps.SoftPrompt(3).bind(model), toy_task(), progress=False).loss.values


@pytest.mark.parametrize("prepacked", [False, True])
@pytest.mark.parametrize("compute", [scores, texts, losses, statistic, worth])
def test_an_edit_that_pytorch_does_not_count(compute: Compute, prepacked: bool, tmp_path: Path) -> None:
    if prepacked and not can_prepack(nn.Linear(1, 1)):
        pytest.skip("this PyTorch has no oneDNN operators")
    model = ps.load_model(tiny_hf_model("llama", vocab=VOCAB), tokenizer=tiny_tokenizer())
    fresh = ps.load_model(tiny_hf_model("llama", vocab=VOCAB), tokenizer=tiny_tokenizer())
    for one in (tmp_path / "a", tmp_path / "b"):
        one.mkdir()
    with execution(prepacked=prepacked):
        before = compute(model, tmp_path / "a")
        for layer in model.twin.model.layers:
            layer.mlp.up_proj.weight.data.mul_(-20)
        after = compute(model, tmp_path / "a")
    for layer in fresh.twin.model.layers:
        layer.mlp.up_proj.weight.data.mul_(-20)
    with execution(prepacked=False):
        expected = compute(fresh, tmp_path / "b")
    np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(before, after, rtol=1e-2)
