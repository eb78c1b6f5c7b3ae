"""PEFT with the parameters of one of our prompts: used as documented, and with logits at label positions only."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import peft
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.models import Subject
from promptscope.prompts import DeepPrompt, Prompt, SoftPrompt
from promptscope.tasks import Batch

_TASKS = {"causal": "CAUSAL_LM", "seq2seq": "SEQ_2_SEQ_LM"}


class PeftPrompt:
    """A PEFT model over the bare model's weights; a `SoftPrompt` becomes prompt tuning, a `DeepPrompt` prefix tuning.

    Batches are padded on the right, the side on which PEFT's results are exact.
    """

    def __init__(self, subject: Subject, prompt: Prompt) -> None:
        kind = subject.hooked.family.kind
        new = peft.PromptTuningConfig if isinstance(prompt, SoftPrompt) else peft.PrefixTuningConfig
        config = new(task_type=_TASKS[kind], num_virtual_tokens=prompt.length)
        with _quiet():
            model: Any = peft.get_peft_model(subject.bare, config)
        self.model = model.eval()
        self.model.prompt_encoder.to(subject.bare.dtype)
        self.weight: Tensor = self.model.prompt_encoder["default"].embedding.weight
        self.prompt, self.kind = prompt, kind
        # With prompt tuning the first logits are at the prompt's positions, with prefix tuning at the text's.
        self.offset = prompt.length if isinstance(prompt, SoftPrompt) and kind == "causal" else 0
        with torch.no_grad():
            self.weight[: prompt.length].copy_(peft_rows(prompt, lambda number: number))

    def gradient(self) -> Tensor:
        """Return the gradient `[k, columns]`; of an encoder-decoder's 2k rows PEFT uses the first k."""
        assert self.weight.grad is not None
        return self.weight.grad[: self.prompt.length]

    def losses(self, batches: Sequence[Batch]) -> Iterator[Tensor]:
        """Yield the loss of every batch as the model itself computes it, from logits at all positions."""
        for batch in batches:
            with _quiet():
                yield self.model(
                    input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=self.labels(batch)
                ).loss

    def label_only_losses(self, batches: Sequence[Batch]) -> Iterator[Tensor]:
        """Yield the loss of every batch with logits only at positions where a row has a label (causal models)."""
        for batch in batches:
            where = batch.targets != -100
            logits = self.logits_at(batch, where)
            yield cross_entropy(logits, batch.targets[where])

    def logits_at(self, batch: Batch, where: Tensor) -> Tensor:
        """Return the logits at the positions marked in *where*; `logits_to_keep` skips the others as far as it can."""
        columns = where.any(dim=0).nonzero()[:, 0]
        with _quiet():
            logits = self.model(
                input_ids=batch.input_ids,
                attention_mask=batch.attention_mask,
                logits_to_keep=self.offset + columns,
            ).logits
        return logits[where[:, columns]]

    def labels(self, batch: Batch) -> Tensor:
        """Return the targets at the positions where PEFT expects them: causal models shift them internally."""
        if self.kind != "causal":
            return batch.targets
        return torch.cat([torch.full_like(batch.targets[:, :1], -100), batch.targets[:, :-1]], dim=1)

    def logits(self, batch: Batch) -> Tensor:
        """Return the logits at every position of the text."""
        with _quiet():
            return self.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits[:, self.offset :]

    def generate(self, input_ids: Tensor, attention_mask: Tensor, n_new: int) -> Tensor:
        """Return the new tokens of PEFT's `generate`, which needs padding on the left."""
        with _quiet():
            ids = self.model.generate(
                input_ids=input_ids, attention_mask=attention_mask, max_new_tokens=n_new, do_sample=False
            )
        return ids[:, -n_new:]


def peft_rows(prompt: Prompt, of: Callable[[Any], Tensor]) -> Tensor:
    """Return what *of* gives for each parameter (its values or its gradient), laid out as PEFT's single matrix.

    With prefix tuning the columns are ordered by layer, and within a layer keys come before values.
    """
    if isinstance(prompt, SoftPrompt):
        return of(prompt.embedding)
    assert isinstance(prompt, DeepPrompt)
    layers = torch.stack([of(prompt.numbers["self_keys"]), of(prompt.numbers["self_values"])])
    return layers.permute(2, 1, 0, 3).flatten(1)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # PEFT asks transformers for a deprecated property, and warns that its generation drops the position ids.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        warnings.filterwarnings("ignore", message="Position ids are not supported")
        yield
