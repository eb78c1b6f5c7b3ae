"""Training: it learns, it is the plain torch loop, and it leaves the model alone."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import promptscope as ps
from promptscope.files import tensor_hash
from promptscope.prompts import Prompt
from promptscope.training.order import batch_indices, batches_per_epoch
from tests.tiny_models import FAMILIES, tiny_hf_model
from tests.tiny_tokenizer import tiny_tokenizer
from tests.training import references
from tests.training.toy import VOCAB, toy_model, toy_rows, toy_task, toy_truth


def train(model: ps.HookedModel, prompt: Prompt, out: Path | None = None, **settings: Any) -> ps.Run:
    return ps.train(model, prompt, toy_task(), ps.TrainConfig(**settings), out=out, progress=False)


@pytest.mark.parametrize("make", [ps.SoftPrompt, ps.DeepPrompt])
@pytest.mark.parametrize("family", FAMILIES)
def test_training_lowers_the_loss_and_never_touches_the_model(family: str, make: type[Prompt], tmp_path: Path) -> None:
    model = toy_model(family)

    def weights() -> dict[str, str]:
        states = {"twin": model.twin.state_dict(), "bridge": model.bridge.state_dict()}
        return {f"{tree}.{name}": tensor_hash(t) for tree, state in states.items() for name, t in state.items()}

    before, prompt = weights(), make(4)
    run = train(model, prompt, tmp_path / "run", steps=12, batch_size=10, learning_rate=0.1, evaluate_every=12)
    losses = run.history["loss"].tolist()  # every batch is the whole split
    assert losses[-1] < losses[0] - 0.01
    assert sum(after < before for before, after in pairwise(losses)) > 8
    assert weights() == before
    for module in (model.twin, model.bridge):
        assert not any(parameter.requires_grad or parameter.grad is not None for parameter in module.parameters())
    # The prompt is trained in place, and what is saved is what was trained.
    assert run.prompt.content_hash() == prompt.content_hash()
    frozen = ps.evaluate(model, None, toy_task(), split="train", progress=False)
    assert ps.evaluate(model, run.prompt, toy_task(), split="train", progress=False)["loss"] < frozen["loss"]


@pytest.mark.parametrize(
    ("family", "dtype", "optimizer", "limit"),
    [
        ("gpt2", torch.float64, "adamw", 0.05),
        ("gpt2", torch.float64, "adam", 0.06),
        ("gpt_neox", torch.float64, "adamw", 0.02),
        ("bert", torch.float64, "adamw", 0.004),
        ("t5", torch.float64, "adamw", 0.03),
        ("llama", torch.float32, "adamw", 0.3),
    ],
)
def test_equals_a_plain_torch_loop_on_the_bare_model(
    family: str, dtype: torch.dtype, optimizer: str, limit: float
) -> None:
    """Optimiser, weight decay, clipping, schedule and order of records, all at once, over two epochs."""
    model, truth, rows = toy_model(family, dtype), toy_truth(family, dtype), toy_rows()
    prompt = ps.SoftPrompt(3, seed=5).bind(model)
    vectors = prompt.embedding.detach().clone().requires_grad_()
    run = train(
        model,
        prompt,
        steps=8,
        batch_size=2,
        accumulation=2,
        learning_rate=0.05,
        optimizer=optimizer,
        weight_decay=0.1,
        betas=(0.8, 0.9),
        schedule="linear",
        warmup_steps=2,
        max_grad_norm=limit,
        seed=3,
    )

    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[optimizer]
    plain = kind([vectors], lr=0.05, betas=(0.8, 0.9), weight_decay=0.1)
    factors = [0.5, 1.0, 1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    losses, norms = [], []
    for step, factor in enumerate(factors):
        plain.param_groups[0]["lr"] = 0.05 * factor
        plain.zero_grad()
        loss = references.loss(truth, family, [rows[i] for i in batch_indices(10, 4, 3, step)], vectors)
        loss.backward()
        losses.append(loss.item())
        norms.append(vectors.grad.norm().item())
        if norms[-1] > limit:
            vectors.grad *= limit / (norms[-1] + 1e-6)
        plain.step()
    assert max(norms) > limit > min(norms)  # clipping is tested on both sides
    exact = dtype == torch.float64
    np.testing.assert_allclose(run.history["loss"], losses, rtol=1e-9 if exact else 1e-5)
    np.testing.assert_allclose(run.history["grad_norm"], norms, rtol=1e-8 if exact else 1e-4)
    np.testing.assert_allclose(run.history["learning_rate"], [0.05 * factor for factor in factors])
    tolerance = 1e-9 if exact else 1e-4
    torch.testing.assert_close(prompt.embedding.detach(), vectors.detach(), rtol=tolerance, atol=tolerance)
    assert run.history["prompt_norm"].iloc[-1] == pytest.approx(vectors.detach().norm(dim=1).mean().item(), rel=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_accumulation_changes_nothing(dtype: torch.dtype, tolerance: float) -> None:
    # 10 records in batches of 8: the last batch of each epoch is smaller, and split all the same.
    runs = [
        train(toy_model("gpt2", dtype), ps.DeepPrompt(3, seed=1), steps=7, batch_size=size, accumulation=parts)
        for size, parts in ((8, 1), (4, 2), (3, 3))
    ]
    np.testing.assert_allclose(runs[0].history["loss"], runs[1].history["loss"], rtol=tolerance)
    torch.testing.assert_close(runs[0].prompt.state_dict(), runs[1].prompt.state_dict(), rtol=tolerance, atol=tolerance)
    assert not np.allclose(runs[0].history["loss"], runs[2].history["loss"], rtol=tolerance)  # 9 records a step


def test_epochs_become_steps() -> None:
    run = train(toy_model("gpt2"), ps.SoftPrompt(2), epochs=2, batch_size=2, accumulation=2)
    assert batches_per_epoch(10, 4) == 3
    assert run.history["step"].tolist() == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(run.history["epoch"], np.arange(1, 7) / 3)


def test_half_precision_model_trains_a_float32_prompt() -> None:
    model = ps.load_model(tiny_hf_model("llama", torch.bfloat16, vocab=VOCAB), tokenizer=tiny_tokenizer())
    prompt = ps.DeepPrompt(4)
    run = train(model, prompt, steps=25, batch_size=5, learning_rate=0.03)
    assert {parameter.dtype for parameter in prompt.parameters()} == {torch.float32}
    assert run.history["loss"].iloc[-1] < run.history["loss"].iloc[0] - 0.3


def test_labels_initialisation_takes_the_words_of_the_task() -> None:
    prompt = ps.SoftPrompt(2, init="labels")
    train(toy_model("gpt2"), prompt, steps=1)
    assert prompt.provenance["init"] == "labels(positive, negative)"
