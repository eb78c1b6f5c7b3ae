"""Proofs that promptscope and PEFT compute the same: gradients in float64, twelve steps of AdamW in float32."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.baselines.peft import PeftPrompt, peft_rows
from benchmarks.equality import FP32_LIMITS, Outcome, difference, differences, within
from benchmarks.inputs import Lengths, random_batches
from benchmarks.models import Models, Subject
from benchmarks.results import Proof
from benchmarks.training import Level, make_prompt
from benchmarks.ways import in_every_way
from promptscope.inference.batches import batches as read_batches
from promptscope.inference.batches import encode_split
from promptscope.prompts import Prompt
from promptscope.tasks import Batch, load_task
from promptscope.training.gradient import accumulate_gradient

_RAGGED = Lengths(8, 60)
_STEPS, _LEARNING_RATE = 12, 2e-2
_TASK = "capital_en"  # comes with the package


def proofs(models: Models, model: str) -> Iterator[Proof]:
    """Yield the proofs; *model* is the causal model of the proofs in float32."""
    for k in (4, 20, 100):
        yield gradient_in_float64(models, "v1", k)
    yield gradient_in_float64(models, "v2", 20)
    yield adamw_steps(models, model, "v1")
    yield adamw_steps(models, model, "v2")
    yield rounding(models, model)


def gradient_in_float64(models: Models, level: Level, k: int) -> Proof:
    """Compare loss and gradient on a small GPT-2 over ragged rows.

    GPT-2, because Llama in transformers computes norms and rotary embeddings in float32 whatever the weights are.
    """
    subject = models.get("tiny-gpt2", torch.float64)
    batches = random_batches(subject, _RAGGED, rows=8, n_batches=2)
    prompt = make_prompt(subject, level, k)
    theirs = PeftPrompt(subject, prompt)
    # Not the loss that transformers computes, which converts the logits to float32 first.
    want_loss = sum(loss / len(batches) for loss in theirs.label_only_losses(batches))
    assert isinstance(want_loss, Tensor)
    want_loss.backward()
    loss = accumulate_gradient(subject.hooked, prompt, batches)
    found = differences(
        {"loss": torch.tensor(loss, dtype=torch.float64), "gradient": peft_rows(prompt, lambda p: p.grad)},
        {"loss": want_loss, "gradient": theirs.gradient()},
    )
    limits = {"loss": 1e-12, "gradient": 1e-9}
    return Proof(f"float64, small GPT-2, {level}, k={k}", found, limits, not within(found, limits))


def adamw_steps(models: Models, model: str, level: Level) -> Proof:
    """Train with promptscope and PEFT for twelve steps on the same ragged batches; compare every loss and the prompts.

    A model with trained weights needs real text: on random tokens, even two runs of PEFT that differ only in the
    attention kernel end as far apart as promptscope and PEFT.
    """
    subject = models.get(model)
    batches = _ragged_batches(subject)
    prompt = make_prompt(subject, level, k=8)
    theirs = PeftPrompt(subject, prompt)
    start = theirs.weight.detach().clone()

    def peft_loss(step: int) -> float:
        (loss,) = theirs.losses([batches[step]])
        loss.backward()
        return loss.item()

    want = _train([theirs.weight], peft_loss)
    got = _train(prompt.parameters(), lambda step: accumulate_gradient(subject.hooked, prompt, [batches[step]]))
    with torch.no_grad():
        found = differences(
            {"losses": got, "movement": peft_rows(prompt, lambda number: number) - start[: prompt.length]},
            {"losses": want, "movement": theirs.weight[: prompt.length] - start[: prompt.length]},
        )
    limits = {"losses": 1e-4, "movement": 1e-2}
    name = f"{_STEPS} AdamW steps in float32, {model}, {level}, k=8"
    return Proof(name, found, limits, not within(found, limits))


def _ragged_batches(subject: Subject) -> Sequence[Batch]:
    if not subject.hooked.has_tokenizer:
        return random_batches(subject, _RAGGED, rows=8, n_batches=_STEPS)
    examples = encode_split(subject.hooked, None, load_task(_TASK), "train", limit=8 * _STEPS)
    return list(read_batches(subject.hooked, examples, batch_size=8))


def rounding(models: Models, model: str) -> Proof:
    """Compare float32 gradients of promptscope and PEFT with PEFT's in float64: whose rounding error is larger?"""
    subject, prompt, batches, truth = _rounding_case(models, model, torch.float32)
    found = {"PEFT": truth}
    for name, run in in_every_way(subject.hooked, lambda: _gradient(subject, prompt, batches)).items():
        found[name] = run()["gradient"]
    truth = _rounding_case(models, model, torch.float64)[-1]
    differs = {name: difference(gradient, truth) for name, gradient in found.items()}
    limits = dict.fromkeys(differs, FP32_LIMITS["gradient"])
    return Proof(f"float32 gradient against float64, {model}", differs, limits, not within(differs, limits))


def _rounding_case(models: Models, model: str, dtype: torch.dtype) -> tuple[Subject, Prompt, Sequence[Batch], Tensor]:
    subject = models.get(model, dtype)
    batches = random_batches(subject, Lengths(30), rows=8)
    prompt = make_prompt(subject, "v1", k=20)
    theirs = PeftPrompt(subject, prompt)
    (loss,) = theirs.label_only_losses(batches)
    loss.backward()
    return subject, prompt, batches, theirs.gradient()


def _gradient(subject: Subject, prompt: Prompt, batches: Sequence[Batch]) -> Outcome:
    prompt.zero_grad(set_to_none=True)
    accumulate_gradient(subject.hooked, prompt, batches)
    return {"gradient": peft_rows(prompt, lambda number: number.grad)}


def _train(parameters: Any, loss_of: Callable[[int], float]) -> Tensor:
    optimizer = torch.optim.AdamW(list(parameters), lr=_LEARNING_RATE, weight_decay=0.0)
    losses = []
    for step in range(_STEPS):
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss_of(step))
        optimizer.step()
    return torch.tensor(losses, dtype=torch.float64)
