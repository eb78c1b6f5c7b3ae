"""Attention KL: how far a prompt moves each head's attention over the text."""

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
    """Attention that each text token receives: `r_j = sum over real text queries i of a_ij`, (B, H, n).

    >>> ReceivedAttention().ragged_dim  # what is kept is as long as the text
    2
    """

    site: str = "attn.hook_pattern"
    ragged_dim: ClassVar[int | None] = 2

    def reduce(self, x: Float[Tensor, "B H T S"], layer: int, view: View) -> Float[Tensor, "B H n"]:
        """One masked sum over queries; prompt slots are left out on both sides."""
        rows = view.without_prompt(x, 2, 3)
        rows = rows if rows.dtype == torch.float64 else rows.float()  # half precision is too coarse to sum in
        # Not einsum, which copies the pattern first: it is the largest thing there is.
        return (view.tokens.to(rows)[:, None, None, :] @ rows).squeeze(2)


@dataclass(frozen=True)
class PerQueryKL(PairedCapture):
    """Sum over queries of `KL(p_i || m_i)`, and the number of queries that have one: (B, H, 2).

    The same maths as `statistics.per_query_kl`, here because whole patterns are too large to keep.

    >>> PerQueryKL().site
    'attn.hook_pattern'
    """

    site: str = "attn.hook_pattern"

    def reduce(self, x: Float[Tensor, "B H T S"], layer: int, view: View) -> Float[Tensor, "B H n n"]:
        """Cut the prompt slots off."""
        return view.without_prompt(x, 2, 3)

    def compare(
        self, prompted: Float[Tensor, "B H n n"], plain: Float[Tensor, "B H n n"], layer: int, view: View
    ) -> Float[Tensor, "B H 2"]:
        """Renormalise both rows over the text keys and add up the divergences of the queries."""
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
    """KL divergence between each head's attention with a prompt (P) and without (M), mean over inputs.

    `reading="paper"` (eq. 4): for one input, `r_j = sum over real text queries i of a_ij`; prompt keys and special
    tokens are dropped; `p = softmax(r^P)`, `m = softmax(r^M)` over the remaining tokens; exact zeros become 1e-20;
    `KL = sum_j p_j log(p_j / m_j)`. The softmax is over sums, so that long inputs weigh more, and a head that only
    takes attention away from the text to give it to the prompt counts as moved.

    `reading="per_query"`: for each real text query i, its two rows of attention are cut to the text keys (neither
    special nor prompt; j <= i in causal models) and renormalised; `KL = mean_i sum_j p_ij log(p_ij / m_ij)`. Queries
    that give nothing to such keys in one of the passes are left out; exact zeros become 1e-20. It does not grow with
    length, sees changes that cancel in the sum over queries, and sees none where the prompt merely takes its share.

    `positions="own"` compares with the plain model; `"shared"` gives M's text the positions that it has after the
    prompt, k and up, so that a change of position alone does not count (learned positions; with rotary or relative
    positions, or in an encoder-decoder, the two agree up to rounding).

    Nats, >= 0, higher = attention moved more. Dimensions: prompt, layer, head. An input without text between its
    special tokens is skipped. The null is a prompt that was not trained: pass a random one of the same norm
    as well as yours, `prompts={"v2": prompt, "random": other}`, and see `result.compare("v2", "random")`.

    Raises:
        ProbeError: no prompt is given, or no input has text.

    Reference: *attention and neurons* (S0), section 3.2, eq. 4.

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
            raise ProbeError(f"reading must be 'paper' or 'per_query', not {reading!r}")
        if positions not in ("own", "shared"):
            raise ProbeError(f"positions must be 'own' or 'shared', not {positions!r}")
        self.reading = reading
        self.positions = positions
        default = "attention_kl" + ("_per_query" if reading == "per_query" else "")
        self.name = name or default + ("_shared_positions" if positions == "shared" else "")
        self.title = "Attention KL" + (", per query" if reading == "per_query" else "")

    def captures(self) -> dict[str, Capture]:
        """The paper's reading keeps one number per token and head; the other compares on the spot."""
        return {"attention": ReceivedAttention() if self.reading == "paper" else PerQueryKL()}

    def compute(self, entries: Entries) -> ProbeResult:
        """Average the divergences of the inputs."""
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
