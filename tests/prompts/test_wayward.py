"""The wayward prompt: its penalty against a loop, training that holds it at the text, and what readings see."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import promptscope as ps
from promptscope.inference.batches import batches, encode_split
from promptscope.readings import Nulls, read_nearest_tokens
from promptscope.training.gradient import accumulate_gradient
from tests.training.references import text_ids as ids_of
from tests.training.toy import toy_model, toy_task

CONFIG = ps.TrainConfig(steps=30, batch_size=4, learning_rate=0.05)


def naive_penalty(vectors: Tensor, rows: Tensor, strength: float) -> float:
    total = 0.0
    for p, e in zip(vectors.tolist(), rows.tolist(), strict=True):
        total += sum((a - b) ** 2 for a, b in zip(p, e, strict=True))
    return strength * total / len(vectors)


@pytest.mark.parametrize("family", ["gpt2", "bert", "t5"])
def test_the_penalty_is_the_mean_squared_distance_from_the_texts_tokens(family: str) -> None:
    model = toy_model(family, torch.float64)
    prompt = ps.WaywardPrompt(3, "story film", strength=0.3, init="uniform", seed=2).bind(model)
    rows = model.embed(torch.tensor(ids_of("story film story")))
    penalty = prompt.penalty(model)
    assert penalty.item() == pytest.approx(naive_penalty(prompt.vectors(), rows, 0.3), rel=1e-9)
    penalty.backward()
    torch.testing.assert_close(prompt.embedding.grad, 2 * 0.3 / 3 * (prompt.vectors() - rows).detach())
    assert ps.WaywardPrompt(3, "story film").bind(model).penalty(model).item() == 0.0
    assert ps.SoftPrompt(3).bind(model).penalty(model) is None


def test_the_penalty_is_in_the_gradient_and_not_in_the_loss() -> None:
    model = toy_model("gpt2", torch.float64)
    results = []
    for prompt in (
        ps.WaywardPrompt(3, "story", strength=0.7, init="uniform"),
        ps.WaywardPrompt(3, "story", strength=0, init="uniform"),
        ps.SoftPrompt(3),
    ):
        parts = list(batches(model, encode_split(model, prompt.bind(model), toy_task(), "train"), 4))
        results.append((accumulate_gradient(model, prompt, parts), prompt.embedding.grad))
    rows = model.embed(torch.tensor(ids_of("story story story")))
    pull = 2 * 0.7 / 3 * (ps.SoftPrompt(3).bind(model).vectors() - rows)
    assert results[0][0] == results[1][0] == results[2][0]
    torch.testing.assert_close(results[0][1], results[2][1] + pull)
    torch.testing.assert_close(results[1][1], results[2][1])


def test_strength_decides_how_near_to_the_text_it_stays() -> None:
    model, away, losses = toy_model("gpt2"), [], []
    for strength in (0.0, 0.1, 10.0):
        prompt = ps.WaywardPrompt(3, "story", strength)
        run = ps.train(model, prompt, toy_task(), CONFIG, progress=False)
        start = ps.SoftPrompt(3, "text:story").bind(model)
        away.append((prompt.vectors() - start.vectors()).norm().item())
        losses.append(float(run.history["loss"].iloc[-1]))
    assert away[0] > away[1] > 3 * away[2] > 0
    assert losses[0] < losses[2]
    near = read_nearest_tokens(model, prompt, n=1, nulls=Nulls(random=0)).table.query("kind == 'prompt'")
    assert near["token"].str.strip().tolist() == ["story"] * 3


def test_in_a_grid_each_prompt_has_its_own_text(tmp_path: Path) -> None:
    model = toy_model("gpt2", torch.float64)

    def prompts() -> dict[str, ps.SoftPrompt]:
        return {
            "story": ps.WaywardPrompt(3, "story", 0.5),
            "film": ps.WaywardPrompt(3, "film", 0.5),
            "free": ps.SoftPrompt(3, "text:story"),
        }

    config = ps.TrainConfig(steps=4, batch_size=4, learning_rate=0.05)
    runs = {name: ps.GridRun(prompt, toy_task(), config) for name, prompt in prompts().items()}
    done = ps.train_grid(model, runs, tmp_path, progress=False)
    for name, prompt in prompts().items():
        ps.train(model, prompt, toy_task(), config, progress=False)
        torch.testing.assert_close(done[name].prompt.state_dict(), prompt.state_dict(), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(done["story"].prompt.vectors(), done["free"].prompt.vectors(), atol=1e-3)


def test_it_comes_back_from_disk_as_what_it_was(tmp_path: Path) -> None:
    model = toy_model("gpt2")
    prompt = ps.WaywardPrompt(3, "story film", 0.2, init="uniform").bind(model)
    prompt.save(tmp_path)
    again = ps.load_prompt(tmp_path, model)
    assert isinstance(again, ps.WaywardPrompt) and again.settings() == prompt.settings()
    assert again.content_hash() == prompt.content_hash()
    torch.testing.assert_close(again.penalty(model), prompt.penalty(model))
    assert ps.SoftPrompt(3, "text:story film").bind(model).content_hash() != prompt.content_hash()


def test_a_reading_of_the_place_says_the_text() -> None:
    model = toy_model("gpt2")
    prompt, wayward = ps.SoftPrompt(3, seed=1), ps.WaywardPrompt(3, "story")
    ps.train(model, wayward, toy_task(), CONFIG, progress=False)
    reading = read_nearest_tokens(model, prompt, n=1, nulls=Nulls(random=2, wayward=wayward))
    assert reading.table.query("kind == 'wayward'")["token"].str.strip().tolist() == ["story"] * 3
    assert reading.against_null()["wayward"].notna().all()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"length": 3, "text": "story", "strength": -1.0}, "strength must be at least 0"),
        ({"length": 2, "text": "the very story"}, "3 tokens, and the prompt has 2"),
        ({"length": 2, "text": ""}, "no tokens"),
    ],
)
def test_what_cannot_be_held_is_refused(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ps.PromptError, match=reason):
        ps.WaywardPrompt(**arguments).bind(toy_model("gpt2"))
