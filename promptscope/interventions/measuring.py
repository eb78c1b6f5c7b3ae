"""Losses of each example under variants of a prompt, and how far the output moves."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from promptscope.inference.batches import batches
from promptscope.inference.finite import refuse_nan
from promptscope.inference.targets import first_targets, target_losses
from promptscope.interventions.variants import Variants
from promptscope.models import HookedModel
from promptscope.progress import progress_bar
from promptscope.prompts import Prompt
from promptscope.tasks import IGNORED, Batch, Encoded

Distribution = Callable[[Float[Tensor, "rows V"]], Float[Tensor, "rows C"]]
"""From logits to log-probabilities over the outputs that are compared."""

_ROWS_AT_ONCE = 8192  # prompt positions whose keys and values are in memory: half a gigabyte for a small model


@dataclass(frozen=True)
class Measured:
    """Of G variants and X examples: loss summed over target tokens (nats), and KL at the first target token."""

    losses: Float[np.ndarray, "G X"]
    n_targets: Float[np.ndarray, "X"]
    kl: Float[np.ndarray, "G X"] | None


@torch.no_grad()
def measure(
    model: HookedModel,
    prompt: Prompt,
    how: str,
    kept: Bool[np.ndarray, "G k"],
    examples: Sequence[Encoded],
    batch_size: int,
    variants_per_pass: int,
    distribution: Distribution | None = None,
    progress: bool = True,
) -> Measured:
    """Run all *examples* with each of the variants of *prompt* that *kept* describes.

    With *distribution*, also the KL divergence of the distribution at the first target token is measured,
    `KL(P || Q) = sum_c p_c log(p_c / q_c)` in nats: P is the output with the first variant, which must be the whole
    prompt, Q that with the other variants.
    """
    placed = prompt.place(model)
    losses = np.empty((len(kept), len(examples)))
    kl = np.empty_like(losses) if distribution is not None else None
    texts = [example.input_ids[: example.label_start - 1] for example in examples]
    # Texts of like lengths share a batch: attention runs over the rectangle around it, padding included.
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].input_ids), reverse=True)
    longest_first = [examples[i] for i in order]
    chunks = list(_chunks(kept.sum(axis=1) if how in ("remove", "cut") else np.full(len(kept), kept.shape[1])))
    total = len(chunks) * -(-len(examples) // batch_size)
    with progress_bar(total=total, desc=f"{how} tokens", unit="batch", shown=progress) as bar:
        for groups in chunks:
            if distribution is not None and 0 not in groups[0]:
                groups = [np.array([0]), *groups]
            every = [(group, Variants(model, placed, how, kept[group], texts)) for group in groups]
            for number, batch in enumerate(batches(model, longest_first, batch_size)):
                here = order[number * batch_size :][: len(batch)]
                batch = _needed(batch, model.family.kind)
                reference: Tensor | None = None
                for variant, logits in _each(every, batch, variants_per_pass):
                    refuse_nan(model, logits, [prompt])
                    losses[variant, here] = _summed(batch, logits)
                    if distribution is not None and kl is not None:
                        log_p = distribution(logits[first_targets(batch)]).double()
                        reference = log_p if reference is None else reference
                        kl[variant, here] = _divergence(reference, log_p)
                bar.update()
    n_targets = np.array([sum(target != IGNORED for target in example.targets) for example in examples], dtype=float)
    return Measured(losses, n_targets, kl)


def _each(
    every: Sequence[tuple[np.ndarray, Variants]], batch: Batch, variants_per_pass: int
) -> Iterator[tuple[int, Float[Tensor, "targets V"]]]:
    """Yield the number of every variant and its logits at the targets of *batch*, in float32 or more precise."""
    for group, variants in every:
        for first in range(0, len(group), variants_per_pass):
            chosen = list(range(first, min(first + variants_per_pass, len(group))))
            logits = variants.logits(batch, chosen)
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).unflatten(0, (len(chosen), -1))
            yield from zip(group[chosen].tolist(), logits, strict=True)


def _chunks(lengths: Int[np.ndarray, "G"]) -> Iterator[list[Int[np.ndarray, "n"]]]:
    """Divide variants into groups of one length, longest first, and these into parts that fit into memory."""
    groups: list[np.ndarray] = []
    rows = 0
    for length in sorted(set(lengths.tolist()), reverse=True):
        members = np.flatnonzero(lengths == length)
        while len(members):
            room = max((_ROWS_AT_ONCE - rows) // max(length, 1), 0 if groups else 1)
            taken, members = members[:room], members[room:]
            if len(taken):
                groups.append(taken)
                rows += len(taken) * length
            if len(members):
                yield groups
                groups, rows = [], 0
    yield groups


def _needed(batch: Batch, kind: str) -> Batch:
    """Leave out what no target attends to: on causal models, tokens after the last target position."""
    if kind != "causal":
        return batch
    steps = torch.arange(batch.targets.shape[1], device=batch.targets.device)
    last = ((batch.targets != IGNORED) * steps).amax(dim=1, keepdim=True)
    return replace(batch, attention_mask=batch.attention_mask * (steps <= last))


def _summed(batch: Batch, logits: Float[Tensor, "targets V"]) -> Float[np.ndarray, "B"]:
    """Return the loss of each record, summed over its target tokens."""
    each = target_losses(batch, logits).double()
    counts = (batch.targets != IGNORED).sum(dim=1)
    of_record = torch.arange(len(batch), device=counts.device).repeat_interleave(counts)
    return each.new_zeros(len(batch)).index_add(0, of_record, each).cpu().numpy()


def _divergence(log_p: Float[Tensor, "B C"], log_q: Float[Tensor, "B C"]) -> Float[np.ndarray, "B"]:
    return (log_p.exp() * (log_p - log_q)).sum(dim=1).clamp(min=0).cpu().numpy()
