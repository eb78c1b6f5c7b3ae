"""Attention KL: how far a prompt changes each head's attention over the text."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.probes.base import Probe
from promptscope.probes.entries import Entries, Shard
from promptscope.probes.result import ProbeResult
from promptscope.statistics import ZERO, kl_of_received
from promptscope.store import Capture, PairedCapture, View


@dataclass(frozen=True)
class ReceivedAttention(Capture):
    """Attention that each text token receives, `r_j = sum over real text queries i of a_ij`: (B, H, n).

    >>> ReceivedAttention().ragged_dim  # what is kept is as long as the text
    2
    """

    site: str = "attn.hook_pattern"
    ragged_dim: ClassVar[int | None] = 2

    def reduce(self, x: Float[Tensor, "B H T S"], layer: int, view: View) -> Float[Tensor, "B H n"]:
        """Sum over text queries; prompt positions are left out on both sides."""
        rows = view.without_prompt(x, 2, 3)
        rows = rows if rows.dtype == torch.float64 else rows.float()  # half precision is too coarse to sum in
        # Not einsum, which copies the pattern first: it is the largest thing there is.
        return (view.tokens.to(rows)[:, None, None, :] @ rows).squeeze(2)


@dataclass(frozen=True)
class PerQueryKL(PairedCapture):
    """Sum over text queries of `KL(p_i || m_i)`, and the number of queries for which it is defined: (B, H, 2).

    The formula is that of `ps.statistics.per_query_kl`; it is computed inside the hooks because whole attention
    patterns are too large to store.

    >>> PerQueryKL().site
    'attn.hook_pattern'
    """

    site: str = "attn.hook_pattern"

    def reduce(self, x: Float[Tensor, "B H T S"], layer: int, view: View) -> Float[Tensor, "B H n n"]:
        """Drop the prompt positions."""
        return view.without_prompt(x, 2, 3)

    def compare(
        self, prompted: Float[Tensor, "B H n n"], plain: Float[Tensor, "B H n n"], layer: int, view: View
    ) -> Float[Tensor, "B H 2"]:
        """Renormalise both rows over the text keys, and sum the divergences of the queries."""
        keys = view.text[:, None, None, :]
        p, p_mass = _rows(prompted, keys)
        m, m_mass = _rows(plain, keys)
        each = torch.div(p, m, out=m).log_().mul_(p).masked_fill_(~keys, 0.0)  # p log(p / m)
        divergence = each.sum(dim=-1).clamp(min=0.0)  # (B, H, n)
        defined = view.tokens[:, None, :] & (p_mass > 0) & (m_mass > 0)
        return torch.stack([(divergence * defined).sum(dim=-1), defined.sum(dim=-1).to(divergence)], dim=-1)


def _rows(pattern: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    pattern = pattern if pattern.dtype == torch.float64 else pattern.float()
    rows = pattern.masked_fill(~keys, 0.0)  # a copy: from here on in place, patterns are the largest thing there is
    mass = rows.sum(dim=-1)
    rows /= mass.where(mass > 0, 1.0)[..., None]
    return rows.masked_fill_(rows == 0, ZERO), mass


class AttentionKL(Probe):
    """KL divergence of each head's attention over the text with a prompt (P) from that without it (M).

    `reading="paper"` (eq. 4): for one input, key j receives `r_j = sum_i a_ij` from all real text queries i. Prompt
    keys and special tokens are dropped; `p = softmax(r^P)` and `m = softmax(r^M)` over the remaining keys;
    `KL = sum_j p_j log(p_j / m_j)`, where an exact zero becomes 1e-20. The softmax is over sums of attention, so long
    inputs weigh more, and a head counts as changed also if it only takes attention from the text to give it to the
    prompt.

    `reading="per_query"`: for each real text query i, both rows of attention are restricted to text keys (neither
    special nor prompt; j <= i in causal models) and renormalised; `KL = mean_i sum_j p_ij log(p_ij / m_ij)`. Queries
    without attention to such keys in one of the passes are left out; an exact zero becomes 1e-20. This does not grow
    with the length of the input, finds changes that cancel in the sum over queries, and is 0 where the prompt only
    takes a part of the attention.

    The result is the mean over inputs, in nats, >= 0; higher = attention over the text changes more. Dimensions:
    prompt, layer, head. An input with no text between its special tokens is skipped.

    Args:
        reading: `"paper"` or `"per_query"`, as above.
        positions: of the text in the pass without the prompt: `"own"` (from 0, the model as it is) or `"shared"` (from
            k, as after the prompt, so that a change of positions alone does not count). They differ only in
            decoder-only and encoder-only models with learned absolute positions.

    The null is a prompt that was not trained. Probe a random one of the same norms as well,
    `prompts={"v2": prompt, "random": ps.random_like(prompt)}`, and use `result.compare("v2", "random")`.

    Raises:
        ProbeError: no prompt is given, no input has text, or an unknown *reading* or *positions*.

    Reference: *Toward the explainable soft prompts*, section 3.2, eq. 4.

    >>> AttentionKL().name, AttentionKL(reading="per_query").name
    ('attention_kl', 'attention_kl_per_query')
    """

    @checked()
    def __init__(
        self,
        reading: Literal["paper", "per_query"] = "paper",
        positions: Literal["own", "shared"] = "own",
        name: str | None = None,
    ) -> None:
        if reading not in ("paper", "per_query"):
            raise ProbeError(f"reading must be 'paper' or 'per_query', got {reading!r}")
        if positions not in ("own", "shared"):
            raise ProbeError(f"positions must be 'own' or 'shared', got {positions!r}")
        self.reading = reading
        self.positions = positions
        default = "attention_kl" + ("_per_query" if reading == "per_query" else "")
        self.name = name or default + ("_shared_positions" if positions == "shared" else "")
        self.title = "Attention KL" + (", per query" if reading == "per_query" else "")

    def captures(self) -> dict[str, Capture]:
        """One number per token and head for the paper's reading; a comparison inside the hooks for the other."""
        return {"attention": ReceivedAttention() if self.reading == "paper" else PerQueryKL()}

    def compute(self, entries: Entries) -> ProbeResult:
        """Average the divergences over inputs."""
        return entries.result(
            {prompt: self._divergences(entries, prompt) for prompt in entries.prompts},
            units="nats",
            direction="higher = the prompt moves attention more",
            range=(0.0, None),
        )

    def _divergences(self, entries: Entries, prompt: str) -> np.ndarray:
        """One number per input, layer and head; NaN where an input has none."""
        if self.reading == "paper":
            return entries.paired("attention", prompt, _kl)
        parts = [part["values"].astype(np.float64) for part in entries.prompted("attention", prompt)]
        sums = np.concatenate(parts)  # (X, layer, head, 2)
        return np.where(sums[..., 1] > 0, sums[..., 0] / np.maximum(sums[..., 1], 1), np.nan)


def _kl(prompted: Shard, plain: Shard) -> np.ndarray:
    return kl_of_received(prompted["values"], plain["values"], ~prompted["special"])
