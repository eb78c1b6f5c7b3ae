"""Attention variability: how much a head's attention depends on the content of the text rather than on positions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.probes.base import Probe
from promptscope.probes.entries import Entries
from promptscope.probes.result import ProbeResult
from promptscope.statistics import (
    GroupedMean,
    jackknife_interval,
    random_groups,
    variability_ratio,
    variability_sums,
)
from promptscope.store import Capture, View
from promptscope.tasks import Encoded


@dataclass(frozen=True)
class AttentionBlock(Capture):
    """Attention among the first `first_n` text tokens, (B, H, N, N); zeros where an input is shorter.

    >>> AttentionBlock(first_n=10).reach
    10
    """

    site: str = "attn.hook_pattern"
    first_n: int = 10

    @property
    def reach(self) -> int:
        """Only the first N tokens are read."""
        return self.first_n

    def reduce(self, x: Float[Tensor, "B H T S"], layer: int, view: View) -> Float[Tensor, "B H N N"]:
        """Select the block."""
        block = view.without_prompt(x, 2, 3)[:, :, : self.first_n, : self.first_n]
        missing = self.first_n - block.shape[-1]
        return torch.nn.functional.pad(block, (0, missing, 0, missing)) if missing > 0 else block


class AttentionVariability(Probe):
    """Attention variability of each head, *without* a prompt, among the first N tokens of the inputs.

    `V = sum_x sum_i sum_j |a_ij(x) - mean_x a_ij| / (2 sum_x sum_i sum_j a_ij(x))`, where a_ij(x) is the attention from
    token i to token j in input x. N = *first_n* counts the start token. Key j = 0 and query i = 0 are left out; in
    causal models the sum is over j <= i, in bidirectional ones over all j of the block.

    It is in [0, 1]; 0 = attention depends on positions only, higher = it depends more on content. Dimensions: layer,
    head. Inputs with fewer than N tokens are skipped and counted.

    Intervals are those of the delete-a-group jackknife, because V is not a mean over inputs. `result.data["without"]`
    (left_out, layer, head) holds V without each group of inputs, for `ps.statistics.jackknife_interval` of your own
    quantities.

    Raises:
        ProbeError: *first_n* is below 2, or fewer than 2 inputs have N tokens.

    Reference: *Toward the explainable soft prompts*, eq. 3; Vig & Belinkov 2019.

    >>> AttentionVariability(first_n=10).name
    'attention_variability'
    """

    title = "Attention variability"
    conditions = "plain"

    @checked()
    def __init__(self, first_n: int = 10, name: str | None = None) -> None:
        if first_n < 2:
            raise ProbeError(f"first_n must be at least 2 (the first token is left out), got {first_n}")
        self.first_n = first_n
        self.name = name or "attention_variability"

    def captures(self) -> dict[str, Capture]:
        """Keep the N x N block of every input: the mean over inputs must be known before the deviations."""
        return {"block": AttentionBlock(first_n=self.first_n)}

    def check(self, examples: Sequence[Encoded], prompts: Sequence[str]) -> None:
        """Raise ProbeError unless at least two inputs are long enough."""
        lengths = [len(example.input_ids) for example in examples]
        usable = sum(length >= self.first_n for length in lengths)
        if usable < 2:
            second = sorted(lengths)[-2] if len(lengths) > 1 else 0
            raise ProbeError(
                f"attention variability needs at least 2 inputs of first_n={self.first_n} tokens or more; {usable} of "
                f"{len(lengths)} have them. "
                + (f"Lower first_n to {second} or less, or give more inputs" if second > 1 else "Give more inputs")
                + ", for example a larger limit or another split"
            )

    def compute(self, entries: Entries) -> ProbeResult:
        """Read the store twice: first for the means, then for the deviations, both in float64."""
        causal = entries.model.family.kind == "causal"
        n = sum(int((part["lengths"] >= self.first_n).sum()) for part in entries.plain("block"))
        groups = random_groups(n)
        mean = GroupedMean(n_groups=int(groups.max()) + 1)
        for blocks, members in self._parts(entries, groups):
            mean.add(blocks, members)
        left_out = range(-1, int(groups.max()) + 1)  # -1: no group
        means = [mean.of_all() if group < 0 else mean.without(group) for group in left_out]
        deviations = [np.zeros(means[0].shape[:2]) for _ in left_out]  # (layer, head) each
        masses = [np.zeros(means[0].shape[:2]) for _ in left_out]
        for blocks, members in self._parts(entries, groups):
            for i, group in enumerate(left_out):
                deviation, mass = variability_sums(blocks[members != group], means[i], causal)
                deviations[i] += deviation
                masses[i] += mass
        values = variability_ratio(np.stack(deviations), np.stack(masses))
        return ProbeResult(
            data=_dataset(values[0], values[1:], entries.layers("block")),
            units="variability, 0 to 1",
            direction="higher = attention depends more on content, 0 = on position only",
            range=(0.0, 1.0),
            n_examples=n,
            n_skipped=len(entries.examples) - n,
            **entries.about(),
        )

    def _parts(self, entries: Entries, groups: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the blocks of the inputs that are long enough, and their groups."""
        start = 0
        for part in entries.plain("block"):
            blocks = part["values"][part["lengths"] >= self.first_n]
            yield blocks, groups[start : start + len(blocks)]
            start += len(blocks)


def _dataset(values: np.ndarray, without: np.ndarray, layers: Sequence[int]) -> xr.Dataset:
    """Return the variables of the result from *values* (layer, head) and *without* (group, layer, head)."""
    curve = np.asarray(values.mean(axis=-1))
    intervals = (*jackknife_interval(values, without), *jackknife_interval(curve, np.asarray(without.mean(axis=-1))))
    low, high, curve_low, curve_high = (np.clip(bound, 0.0, 1.0) for bound in intervals)
    return xr.Dataset(
        {name: (("layer", "head"), array) for name, array in [("values", values), ("low", low), ("high", high)]}
        | {"without": (("left_out", "layer", "head"), without)}
        | {
            name: (("layer",), array)
            for name, array in [("curve", curve), ("curve_low", curve_low), ("curve_high", curve_high)]
        },
        coords={"layer": list(layers), "head": np.arange(values.shape[-1])},
    )
