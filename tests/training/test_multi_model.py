"""One prompt for several models: the gradient by hand on bare models, and runs that go on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import promptscope as ps
from promptscope.errors import ModelError, PromptError, RunError
from promptscope.inference.model_set import Models
from promptscope.training.loop import Loop
from promptscope.training.multi_model import train_across
from tests.tiny_models import tiny_hf_model
from tests.tiny_tokenizer import tiny_tokenizer
from tests.training import references
from tests.training.toy import VOCAB, toy_model, toy_rows, toy_task, toy_truth

CONFIG = ps.TrainConfig(
    steps=4, batch_size=4, accumulation=2, learning_rate=0.05, evaluate_every=2, checkpoint_every=1, seed=3
)


def other_model(d_model: int = 32) -> ps.HookedModel:
    model = tiny_hf_model("gpt2", torch.float64, 7, d_model=d_model, vocab=VOCAB)
    return ps.load_model(model, tokenizer=tiny_tokenizer())


def models() -> dict[str, ps.HookedModel]:
    return {"causal": toy_model("gpt2", torch.float64), "masked": toy_model("bert", torch.float64)}


def run(prompt: ps.Prompt | None = None, given: Models | None = None, **options: Any) -> ps.Run:
    prompt = prompt or ps.SoftPrompt(3, seed=2)
    options = {"config": CONFIG, "progress": False} | options
    return train_across(models() if given is None else given, prompt, toy_task(), **options)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_mean_over_bare_models_of_two_families(accumulation: int) -> None:
    rows, steps, rate = toy_rows(10), 3, 0.05
    prompt = ps.SoftPrompt(3, seed=2).bind(toy_model("gpt2", torch.float64))
    vectors = prompt.vectors().detach().clone().requires_grad_()
    optimizer = torch.optim.AdamW([vectors], lr=rate, weight_decay=0.0)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        each = [references.loss(toy_truth(f, torch.float64), f, rows, vectors) for f in ("gpt2", "bert")]
        loss = torch.stack(each).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    config = ps.TrainConfig(steps=steps, batch_size=10 // accumulation, accumulation=accumulation, learning_rate=rate)
    ours = run(prompt, config=config)
    np.testing.assert_allclose(ours.history["loss"], losses, rtol=1e-9)
    torch.testing.assert_close(prompt.vectors(), vectors, rtol=1e-7, atol=1e-9)
    assert losses[-1] < losses[0]


def test_one_model_is_plain_training() -> None:
    model = toy_model("gpt2", torch.float64)
    plain = ps.train(model, ps.SoftPrompt(3, seed=2), toy_task(), CONFIG, progress=False)
    ours = run(given=model)
    assert torch.equal(ours.prompt.vectors(), plain.prompt.vectors())
    columns = [name for name in plain.history if name != "seconds"]
    assert ours.history[columns].equals(plain.history[columns])


def test_validation_is_the_mean_over_models() -> None:
    result = run()
    scores = [
        ps.evaluate(model, _loose(result.prompt), toy_task(), split="validation", progress=False)
        for model in models().values()
    ]
    last = result.history.iloc[-1]
    for name in ("accuracy", "loss"):
        np.testing.assert_allclose(last[f"validation_{name}"], np.mean([one[name] for one in scores]), rtol=1e-9)
    assert result.prompt.provenance["models"] == ["causal", "masked"]


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(out=tmp_path / "whole")
    update = Loop.update

    def interrupted(self: Loop, loss: float, begun: float) -> dict[str, str]:
        if self.step == 2:
            raise KeyboardInterrupt
        return update(self, loss, begun)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "update", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(out=tmp_path / "parts")
    parts = run(out=tmp_path / "parts")
    assert torch.equal(parts.prompt.vectors(), whole.prompt.vectors())
    columns = [name for name in whole.history if name != "seconds"]
    assert parts.history[columns].equals(whole.history[columns])
    with pytest.raises(RunError, match=r"models\.other"):
        run(given={"causal": toy_model("gpt2", torch.float64), "other": other_model()}, out=tmp_path / "parts")


def test_a_run_of_one_model_does_not_take_over_the_folder(tmp_path: Path) -> None:
    run(out=tmp_path / "run")
    first = next(iter(models().values()))
    with pytest.raises(RunError, match=r"models\."):
        ps.train(first, ps.SoftPrompt(3, seed=2), toy_task(), CONFIG, out=tmp_path / "run", progress=False)


@pytest.mark.slow
def test_models_by_name_are_loaded_in_turn() -> None:
    names = ["embedded-masked-0", "embedded-masked-1"]
    config = ps.TrainConfig(steps=1, batch_size=4, learning_rate=0.05)
    task = ps.load_task("continent_en")
    found = [
        train_across(given, ps.SoftPrompt(3, seed=2), task, config, progress=False).prompt.vectors()
        for given in (names, [ps.load_model(name) for name in names])
    ]
    assert torch.equal(*found)


def test_models_that_cannot_share_a_prompt(tmp_path: Path) -> None:
    wide = toy_model("gpt2", torch.float64)
    with pytest.raises(ModelError, match="d_model 'wide': 32, 'narrow': 16"):
        run(given={"wide": wide, "narrow": other_model(16)}, out=tmp_path / "run")
    t5 = toy_model("t5", torch.float64)
    with pytest.raises(PromptError, match="for a t5 model"):
        run(ps.DeepPrompt(3, parts=["self"]), {"gpt2": wide, "t5": t5}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def _loose(prompt: ps.Prompt) -> ps.Prompt:
    prompt.strict = False
    return prompt
