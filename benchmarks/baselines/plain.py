"""The bare Hugging Face model with the prompt before the word embeddings, written by hand."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from promptscope.tasks import Batch


def prompted_inputs(model: Any, batch: Batch, vectors: Tensor | None) -> dict[str, Tensor]:
    """Return embeddings and mask of `[prompt | text | padding]`."""
    embeds, mask = model.get_input_embeddings()(batch.input_ids), batch.attention_mask
    if vectors is not None:
        embeds = torch.cat([vectors.to(embeds).expand(len(embeds), -1, -1), embeds], dim=1)
        mask = torch.cat([mask.new_ones(len(mask), len(vectors)), mask], dim=1)
    return {"inputs_embeds": embeds, "attention_mask": mask}


def masked_losses(model: Any, batches: Sequence[Batch], vectors: Tensor) -> Iterator[Tensor]:
    """Yield the masked-LM loss of every batch as the model itself computes it, from logits at all positions."""
    for batch in batches:
        ignored = batch.targets.new_full((len(batch), len(vectors)), -100)
        labels = torch.cat([ignored, batch.targets], dim=1)
        yield model(**prompted_inputs(model, batch, vectors), labels=labels).loss


def label_only_masked_losses(model: Any, batches: Sequence[Batch], vectors: Tensor) -> Iterator[Tensor]:
    """Yield the masked-LM loss with BERT's head applied at the label positions only."""
    for batch in batches:
        hidden = model.bert(**prompted_inputs(model, batch, vectors)).last_hidden_state[:, len(vectors) :]
        where = batch.targets != -100
        yield cross_entropy(model.cls(hidden[where]), batch.targets[where])


@torch.no_grad()
def greedy_alone(model: Any, row: Tensor, vectors: Tensor, n_new: int) -> Tensor:
    """Return *n_new* greedy tokens after one row without padding: the truth that batched generation must equal."""
    embeds = torch.cat([vectors, model.get_input_embeddings()(row)])[None]
    out = model(inputs_embeds=embeds, use_cache=True)
    new = [out.logits[0, -1].argmax()]
    while len(new) < n_new:
        out = model(input_ids=new[-1].view(1, 1), past_key_values=out.past_key_values, use_cache=True)
        new.append(out.logits[0, -1].argmax())
    return torch.stack(new)


@torch.no_grad()
def eager_attentions(model: Any, batch: Batch, vectors: Tensor | None = None) -> tuple[Tensor, ...]:
    """Return the attention patterns `[B, head, T, T]` of all layers, which needs the eager implementation."""
    with _eager(model):
        return model(**prompted_inputs(model, batch, vectors), output_attentions=True).attentions


@torch.no_grad()
def eager_forward(model: Any, batch: Batch, vectors: Tensor | None = None) -> None:
    """Run the model with eager attention, which computes the patterns, and keep nothing."""
    with _eager(model):
        model(**prompted_inputs(model, batch, vectors))


@torch.no_grad()
def eager_states(model: Any, batch: Batch, vectors: Tensor | None = None) -> None:
    """Run the layers with eager attention, without logits, and keep nothing: the least that a probe of them needs."""
    with _eager(model):
        model.base_model(**prompted_inputs(model, batch, vectors))


@contextmanager
def _eager(model: Any) -> Iterator[None]:
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)
