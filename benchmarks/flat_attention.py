"""Two attention implementations for packed rows, padded SDPA and flex, on a training step of an input-level prompt."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.equality import Outcome, limits_for
from benchmarks.inputs import Lengths, random_batches
from benchmarks.models import Models
from benchmarks.training import make_prompt, training_work
from benchmarks.workload import Workload, beside
from promptscope.engine.causal import CausalPass, hidden_rows
from promptscope.engine.flex import FlexPass
from promptscope.engine.shared import Shared
from promptscope.prompts import SoftPrompt


@dataclass(frozen=True)
class Attention:
    """Loss and gradient over one batch of `rows` rows; the baseline pads inside attention, flex does not."""

    model: str
    k: int
    lengths: Lengths
    rows: int

    @property
    def name(self) -> str:
        """`flat-attention/MODEL/k20-ragged10-120-b64`."""
        return f"flat-attention/{self.model}/k{self.k}-{self.lengths}-b{self.rows}"

    def workload(self, models: Models) -> Workload:
        """Prepare a prompt and a batch."""
        subject = models.get(self.model)
        (batch,) = random_batches(subject, self.lengths, self.rows)
        prompt = make_prompt(subject, "v1", self.k)
        assert isinstance(prompt, SoftPrompt)
        where, model = batch.targets != -100, subject.hooked

        def with_kind(kind: type[CausalPass]) -> Callable[[], Outcome]:
            def run() -> Outcome:
                prompt.zero_grad(set_to_none=True)
                shared = Shared.of(model, [prompt.place(model)])
                hidden, _ = hidden_rows(
                    model, shared, batch.input_ids, batch.attention_mask.bool(), kind=kind, where=where
                )
                logits = model.unembed(hidden).float()
                loss = torch.nn.functional.cross_entropy(logits, batch.targets[where])
                loss.backward()
                gradient = prompt.embedding.grad
                assert isinstance(gradient, Tensor)
                return {"loss": loss.detach().double(), "gradient": gradient.clone()}

            return run

        work = training_work(subject, "v1", self.k, [batch])
        padded, flex = beside("padded SDPA", with_kind(CausalPass), {"flex": with_kind(FlexPass)}, work)
        return Workload((padded, replace(flex, counted=False)), limits_for(subject.bare.dtype))
