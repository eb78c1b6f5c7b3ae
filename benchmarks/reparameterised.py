"""A training step of a reparameterised prompt: a network makes the embeddings, as P-tuning's MLP does."""

import copy
from dataclasses import dataclass
from typing import Any

import peft
import torch
from torch import Tensor, nn

from benchmarks.equality import FP32_LIMITS, Outcome
from benchmarks.inputs import Lengths, random_batches
from benchmarks.models import Models, Subject
from benchmarks.training import training_work
from benchmarks.ways import in_every_way
from benchmarks.workload import Workload, beside
from promptscope.prompts import SoftPrompt
from promptscope.tasks import Batch
from promptscope.training.gradient import accumulate_gradient


class MlpPrompt(SoftPrompt):
    """A prompt whose vectors are a network's outputs, which is how any reparameterised prompt computes its vectors."""

    network: nn.Module

    def vectors(self) -> Tensor:
        """Return the network's output for the parameters."""
        return self.network(self.embedding)


@dataclass(frozen=True)
class Reparameterised:
    """One batch after `k` positions whose embeddings come from an MLP with `hidden` units: PEFT's (P_TUNING, MLP)."""

    model: str
    k: int
    lengths: Lengths
    rows: int
    hidden: int = 128

    @property
    def name(self) -> str:
        """`training/MODEL/mlp/k20-n30-b16`."""
        return f"training/{self.model}/mlp/k{self.k}-{self.lengths}-b{self.rows}"

    def workload(self, models: Models) -> Workload:
        """Prepare PEFT's encoder, a copy of it for our prompt, and the batch."""
        subject = models.get(self.model)
        batches = random_batches(subject, self.lengths, self.rows)
        theirs, encoder = _peft(subject, self.k, self.hidden)
        prompt = MlpPrompt(self.k).bind(subject.hooked)
        with torch.no_grad():
            prompt.embedding.copy_(encoder.embedding.weight)
        prompt.network = copy.deepcopy(encoder.mlp_head)

        def peft_step() -> Outcome:
            return _step(theirs, encoder.embedding.weight, batches[0])

        def promptscope() -> Outcome:
            prompt.zero_grad(set_to_none=True)
            loss = accumulate_gradient(subject.hooked, prompt, batches)
            assert prompt.embedding.grad is not None
            return {"loss": torch.tensor(loss, dtype=torch.float64), "gradient": prompt.embedding.grad}

        work = training_work(subject, "v1", self.k, batches)
        return Workload(beside("PEFT", peft_step, in_every_way(subject.hooked, promptscope), work), FP32_LIMITS)


def _peft(subject: Subject, k: int, hidden: int) -> tuple[Any, Any]:
    config = peft.PromptEncoderConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=k, encoder_reparameterization_type="MLP", encoder_hidden_size=hidden
    )
    torch.manual_seed(0)
    model: Any = peft.get_peft_model(subject.bare, config).eval()
    encoder = model.prompt_encoder["default"].to(subject.bare.device, subject.bare.dtype)
    with torch.no_grad():  # PEFT starts with embeddings of norm 24, which make rounding differences large
        encoder.embedding.weight.mul_(0.1)
    return model, encoder


def _step(model: Any, weight: Tensor, batch: Batch) -> Outcome:
    model.zero_grad(set_to_none=True)
    labels = torch.cat([torch.full_like(batch.targets[:, :1], -100), batch.targets[:, :-1]], dim=1)
    loss = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss
    loss.backward()
    assert weight.grad is not None
    return {"loss": loss.detach().double().cpu(), "gradient": weight.grad.clone()}
