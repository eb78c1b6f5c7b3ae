"""A kind of prompt of someone's own: registered it is saved, loaded and trained; else it is refused before training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import promptscope as ps
from promptscope.models import HookedModel
from promptscope.prompts import saving
from promptscope.prompts.norms import prompt_norms
from tests.training.toy import toy_model, toy_task


class Scaled(ps.Prompt):
    """Vectors that are a direction for each position, and one length for all of them."""

    def settings(self) -> dict[str, Any]:
        return {"length": self.length}

    def place(self, model: HookedModel) -> ps.Placement:
        self.bind(model)
        return ps.Placement(self.length, self.scale * self.parts.directions)

    def _create(self, model: HookedModel, generator: torch.Generator) -> None:
        self._build(torch.randn(self.length, model.shape.d_model, generator=generator), torch.tensor(0.3))

    def _build(self, directions: torch.Tensor, scale: torch.Tensor) -> None:
        self.parts.directions = torch.nn.Parameter(directions)
        self.scale = torch.nn.Parameter(scale)

    def _check_fit(self, model: HookedModel) -> None:
        pass

    def __init__(self, length: int = 3, seed: int = 0) -> None:
        super().__init__(length, seed=seed)
        self.parts = torch.nn.Module()


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "_KINDS", dict(saving._KINDS))
    ps.register_prompt(Scaled)


@pytest.mark.parametrize("family", ["gpt2", "bert", "t5"])
@pytest.mark.usefixtures("registered")
def test_it_is_trained_and_loaded_again(family: str, tmp_path: Path) -> None:
    model, prompt, task = toy_model(family), Scaled(3), toy_task()
    config = ps.TrainConfig(steps=4, batch_size=4, learning_rate=0.05, accumulation=2)
    start = prompt.bind(model).place(model).vectors.detach().clone()
    run = ps.train(model, prompt, task, config, tmp_path / "run", progress=False)
    assert not torch.equal(prompt.place(model).vectors, start)
    prompt.save(tmp_path / "prompt")
    loaded = ps.load_prompt(tmp_path / "prompt", model)
    assert type(loaded) is Scaled
    assert torch.equal(loaded.place(model).vectors, prompt.place(model).vectors)
    scores = [ps.evaluate(model, one, task, progress=False) for one in (prompt, loaded, run.prompt)]
    assert scores[0] == scores[1] == scores[2]


def test_a_kind_without_a_saver_is_refused_before_the_first_step(tmp_path: Path) -> None:
    config = ps.TrainConfig(steps=4, batch_size=4)
    with pytest.raises(ps.PromptError, match=r"cannot be saved.*register_prompt"):
        ps.train(toy_model("gpt2"), Scaled(3), toy_task(), config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("registered")
def test_two_kinds_cannot_have_one_name() -> None:
    other = type("Scaled", (Scaled,), {"__module__": "elsewhere"})
    with pytest.raises(ps.PromptError, match="exists in"):
        ps.register_prompt(other)


def test_cut_prompts_run_every_way_and_write_the_same() -> None:
    model = toy_model("gpt2", torch.float64)
    prompt = ps.interventions.cut(ps.SoftPrompt(4, seed=3).bind(model), [1, 3])
    ids, mask = torch.tensor([[5, 6, 7, 8], [9, 5, 0, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    by_hooks = model.logits(ids, mask, prompt, via="hooks")
    torch.testing.assert_close(model.logits(ids, mask, prompt, via="prefix")[mask.bool()], by_hooks[mask.bool()])
    written = ps.generate(model, prompt, ids, mask, max_new_tokens=5)
    with ps.execution(packed=False):
        assert ps.generate(model, prompt, ids, mask, max_new_tokens=5) == written
    same_point = ("blocks.0.hook_resid_pre", lambda x, hook: None)
    assert ps.generate(model, prompt, ids, mask, max_new_tokens=5, hooks=[same_point]) == written


EDITS = {
    "zero": lambda prompt: ps.interventions.zero(prompt, [0]),
    "mean": lambda prompt: ps.interventions.mean(prompt, [1, 2]),
    "remove": lambda prompt: ps.interventions.remove(prompt, [1]),
    "cut": lambda prompt: ps.interventions.cut(ps.interventions.zero(prompt, [0]), [2]),
    "mix": lambda prompt: ps.interventions.mix(prompt, ps.random_like(prompt), [1]),
}


@pytest.mark.parametrize("make", [ps.SoftPrompt, ps.DeepPrompt])
@pytest.mark.parametrize("edit", list(EDITS))
def test_edited_prompts_are_loaded_as_they_were(edit: str, make: type[ps.Prompt], tmp_path: Path) -> None:
    model = toy_model("llama")
    prompt = EDITS[edit](make(3, seed=4).bind(model))
    prompt.save(tmp_path / "prompt")
    loaded = ps.load_prompt(tmp_path / "prompt", model, strict=edit != "mix")
    assert loaded.content_hash() == prompt.content_hash()
    mine, theirs = prompt.place(model), loaded.place(model)
    assert mine.hidden == theirs.hidden
    for name, tensor in mine.tensors().items():
        assert torch.equal(tensor, theirs.tensors()[name])


def doubled(prompt: Scaled, model: HookedModel) -> ps.Placement:
    return ps.Placement(prompt.length, 2 * prompt.scale * prompt.parts.directions)


class Turned(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -x


@pytest.mark.usefixtures("registered")
def test_what_its_code_does_is_part_of_what_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Captures and runs are kept by it: those of a class that does something else now must not come back."""
    model, prompt, task = toy_model("gpt2"), Scaled(3), toy_task()
    config = ps.TrainConfig(steps=2, batch_size=4)
    start = prompt.bind(model).copy()

    def found() -> Any:
        return ps.probe(model, prompt, task, "attention_kl", tmp_path / "s", progress=False)["attention_kl"].values

    before = found()
    ps.train(model, start.copy(), task, config, tmp_path / "run", progress=False)
    monkeypatch.setattr(Scaled, "place", doubled)
    assert not np.allclose(found(), before, atol=1e-4)
    with pytest.raises(ps.RunError, match=r"prompt\.start"):
        ps.train(model, start.copy(), task, config, tmp_path / "run", progress=False)


@pytest.mark.usefixtures("registered")
def test_modules_and_buffers_of_its_own_count(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = Scaled(3).bind(toy_model("gpt2"))
    plain = prompt.content_hash()
    prompt.parts.turned = Turned()
    turned = prompt.content_hash()
    monkeypatch.setattr(Turned, "forward", lambda self, x: 3 * x)
    changed = prompt.content_hash()
    prompt.parts.register_buffer("shift", torch.ones(1))
    assert len({plain, turned, changed, prompt.content_hash()}) == 4
    monkeypatch.setattr(Turned, "forward", lambda self, x: model_of_mine(x))
    with pytest.raises(ps.PromptError, match=r"Scaled refers to something.*Linear"):
        prompt.content_hash()


model_of_mine = torch.nn.Linear(1, 1)


@pytest.mark.usefixtures("registered")
def test_the_norm_of_a_run_is_that_of_the_vectors_it_makes(tmp_path: Path) -> None:
    model, prompt = toy_model("gpt2"), Scaled(3)
    config = ps.TrainConfig(steps=2, batch_size=4, learning_rate=0.05)
    run = ps.train(model, prompt, toy_task(), config, tmp_path / "run", progress=False)
    vectors = prompt.place(model).vectors
    assert vectors is not None
    assert run.history["prompt_norm"].iloc[-1] == pytest.approx(vectors.norm(dim=1).mean().item(), rel=1e-6)


def test_what_cannot_be_told_from_parameters_is_not_measured_on_them() -> None:
    model = toy_model("gpt2")
    soft = ps.SoftPrompt(3).bind(model)
    mine, edited = Scaled(3).bind(model), ps.interventions.zero(soft, [0])
    for measure, prompt in ((prompt_norms, mine), (prompt_norms, edited), (ps.random_like, mine)):
        with pytest.raises(ps.PromptError, match=r"not its parameters, and only place\(model\) computes them"):
            measure(prompt)
    for prompt in (mine, edited):
        with pytest.raises(ps.PromptError, match=r"only a ps\.SoftPrompt or ps\.DeepPrompt can be compared"):
            ps.compare_prompts({"mine": prompt, "other": soft}, model=model)
    norms = [one.place(model).vectors.norm(dim=1).tolist() for one in (edited, ps.random_like(edited))]
    assert norms[0][0] == 0 and norms[0] == pytest.approx(norms[1], rel=1e-5)
