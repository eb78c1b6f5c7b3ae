"""Baselines: the copy that is trained is what is scored, the model itself does not change, and errors are clear."""

import builtins
from typing import Any

import pytest
import torch

import promptscope as ps
from promptscope.inference.batches import batches, encode_split
from promptscope.training import BASELINES, baselines
from promptscope.training.baselines import _copy, _loss, _usable, _with_peft
from promptscope.training.order import batch_indices
from tests.training.toy import toy_model, toy_task

CONFIG = ps.TrainConfig(steps=3, batch_size=4, learning_rate=0.01, evaluate_every=2, evaluate_limit=6)


@pytest.mark.parametrize("name", ["embedded-causal", pytest.param("embedded-seq2seq", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "method",
    [one if one in ("lora", "fine-tuning") else pytest.param(one, marks=pytest.mark.slow) for one in BASELINES],
)
def test_trains_a_copy_and_leaves_the_model_alone(name: str, method: str) -> None:
    model, task = ps.load_model(name), ps.load_task("continent_en")
    before = {key: value.clone() for key, value in model.twin.state_dict().items()}
    plain = ps.evaluate(model, None, task, limit=6, progress=False)
    if (name, method) == ("embedded-seq2seq", "bitfit"):
        with pytest.raises(ps.RunError, match="has no biases"):
            ps.train_baseline(model, method, task, CONFIG)
        return
    tuned = ps.train_baseline(model, method, task, CONFIG)
    assert all(torch.equal(value, before[key]) for key, value in model.twin.state_dict().items())
    assert ps.evaluate(model, None, task, limit=6, progress=False) == plain
    assert ps.evaluate(tuned.model, tuned.prompt, task, limit=6, progress=False)["loss"] != plain["loss"]
    assert tuned.history["validation"].notna().tolist() == [False, True, True]
    assert not any(parameter.requires_grad for parameter in model.twin.parameters())


def test_full_fine_tuning_is_transformers_own_loss_and_adamw() -> None:
    """The truth is the library's model with its own labels, stepped by torch's optimiser on the same records."""
    model, task = ps.load_model("embedded-seq2seq"), ps.load_task("continent_en")
    config = ps.TrainConfig(steps=3, batch_size=4, learning_rate=0.001)
    tuned = ps.train_baseline(model, "fine-tuning", task, config)
    theirs = _copy(model.twin)
    theirs.requires_grad_(True)
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.001, weight_decay=0.0)
    examples = encode_split(model, None, task, "train")
    for step in range(3):
        (batch,) = batches(model, [examples[i] for i in batch_indices(len(examples), 4, 0, step)], 4)
        loss = theirs(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=batch.targets).loss
        assert loss.item() == pytest.approx(tuned.history["loss"][step], rel=1e-4)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    for name, number in theirs.state_dict().items():
        torch.testing.assert_close(tuned.model.twin.state_dict()[name], number, rtol=0, atol=1e-4)


def test_epochs_schedule_and_clipping_are_those_of_a_plain_loop() -> None:
    """Ten records, four a step: an epoch has three steps."""
    model = toy_model("gpt2")
    config = ps.TrainConfig(
        epochs=1, batch_size=2, accumulation=2, learning_rate=0.01, schedule="linear", warmup_steps=1, max_grad_norm=0.5
    )
    tuned = ps.train_baseline(model, "bitfit", toy_task(), config)
    theirs = _copy(model.twin)
    biases = [number for name, number in theirs.named_parameters() if name.endswith("bias")]
    optimizer = torch.optim.AdamW(biases, weight_decay=0.0)
    examples, losses = encode_split(model, None, toy_task(), "train"), []
    for step, factor in enumerate((1.0, 1.0, 0.5)):
        optimizer.param_groups[0]["lr"] = 0.01 * factor
        (batch,) = batches(model, [examples[i] for i in batch_indices(10, 4, 0, step)], 4)
        loss = theirs(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits.flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(loss, batch.targets.flatten(), ignore_index=-100)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        assert torch.nn.utils.clip_grad_norm_(biases, 0.5) > 0.5
        optimizer.step()
    assert tuned.history["loss"].tolist() == pytest.approx(losses, rel=1e-4)
    for name, number in theirs.state_dict().items():
        torch.testing.assert_close(tuned.model.twin.state_dict()[name], number, rtol=0, atol=1e-4)


def test_the_first_of_the_best_validations_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.2, 0.7, 0.7, 0.4])
    monkeypatch.setattr(baselines, "evaluate", lambda *_, **__: {"accuracy": next(scores)})
    settings: dict[str, Any] = {"batch_size": 4, "learning_rate": 0.01}
    model = toy_model("gpt2")
    best = ps.train_baseline(model, "bitfit", toy_task(), ps.TrainConfig(steps=4, evaluate_every=1, **settings))
    two = ps.train_baseline(model, "bitfit", toy_task(), ps.TrainConfig(steps=2, **settings))
    assert all(torch.equal(x, best.model.twin.state_dict()[name]) for name, x in two.model.twin.state_dict().items())


@pytest.mark.parametrize(
    "method", ["lora", "prefix", *(pytest.param(one, marks=pytest.mark.slow) for one in ("ia3", "layer-norm"))]
)
def test_what_is_scored_computes_what_peft_computes(method: str) -> None:
    model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    tuned = _with_peft(_copy(model.twin), method, model, 0, {"num_virtual_tokens": 3} if method == "prefix" else {})
    torch.manual_seed(0)
    with torch.no_grad():
        for number in tuned.parameters():
            if number.requires_grad:
                number += 0.1 * torch.randn_like(number)
    (batch,) = batches(model, encode_split(model, None, task, "test")[:6], 6)
    with torch.no_grad():
        want = _loss(tuned, batch).item()
    scored, _, prompt = _usable(model, tuned, method, task)
    got = ps.evaluate(scored, prompt, task, limit=6, progress=False)["loss"]
    assert got == pytest.approx(want, abs=1e-4)
    assert abs(got - ps.evaluate(model, None, task, limit=6, progress=False)["loss"]) > 1e-3


def test_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    with pytest.raises(ps.RunError, match="Did you mean 'lora'"):
        ps.train_baseline(model, "lorra", task, CONFIG)
    with pytest.raises(ps.RunError, match="PEFT cannot train 'lora'"):
        ps.train_baseline(model, "lora", task, CONFIG, rank=3)
    with pytest.raises(ps.RunError, match="takes no settings"):
        ps.train_baseline(model, "fine-tuning", task, CONFIG, r=3)
    imported = builtins.__import__

    def without_peft(name: str, *given: Any, **more: Any) -> Any:
        if name == "peft":
            raise ImportError(name)
        return imported(name, *given, **more)

    monkeypatch.setattr(builtins, "__import__", without_peft)
    with pytest.raises(ps.RunError, match=r'pip install "promptscope\[peft\]"'):
        ps.train_baseline(model, "lora", task, CONFIG)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
def test_the_mode_of_the_caller_makes_no_difference(mode: Any) -> None:
    model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    config = ps.TrainConfig(steps=2, batch_size=2, learning_rate=0.01)
    expected = ps.train_baseline(model, "bitfit", task, config).history["loss"].tolist()
    with mode():
        assert ps.train_baseline(model, "bitfit", task, config).history["loss"].tolist() == expected
