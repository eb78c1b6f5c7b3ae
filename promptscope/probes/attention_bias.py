"""The attention-bias decomposition: a head's output as a scaled plain output plus the prompt's part."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.probes.base import Probe
from promptscope.probes.entries import Entries
from promptscope.probes.joint import JointCapture
from promptscope.probes.result import ProbeResult
from promptscope.store import Capture, View

_PARTS = ("text_part", "prompt_part")


@dataclass(frozen=True)
class HeadOutputParts(JointCapture):
    """Sums over text queries of `|z|^2`, `|(1-m) z0|^2`, `|m z_prompt|^2` and the squared residual: (B, H, 4).

    Symbols as in `AttentionBias`.

    >>> HeadOutputParts().further
    ('attn.hook_v', 'attn.hook_pattern')
    """

    site: str = "attn.hook_z"
    further: ClassVar[tuple[str, ...]] = ("attn.hook_v", "attn.hook_pattern")

    def take(self, point: str, x: Tensor, layer: int, view: View) -> Tensor:
        """Keep the prompt's values (B, k, kv_head, dh), and the attention from text to prompt keys (B, H, n, k)."""
        return x[:, : view.k] if point.endswith("hook_v") else view.without_prompt(x, 2)[..., : view.k]

    def reduce(self, x: Float[Tensor, "B T H dh"], layer: int, view: View) -> Float[Tensor, "B n H dh"]:
        """Drop the prompt positions."""
        return view.without_prompt(x)

    def merge(
        self, x: Float[Tensor, "B T H dh"], taken: dict[str, Tensor], layer: int, view: View
    ) -> Float[Tensor, "B n H parts"]:
        """Concatenate z, `m z_prompt` and m of every text query: dh + dh + 1 numbers."""
        values, pattern = (_exact(taken[point]) for point in self.further)
        values = values.repeat_interleave(x.shape[2] // values.shape[2], dim=2)  # grouped-query attention
        from_prompt = torch.einsum("bhnk,bkhd->bnhd", pattern, values)
        mass = pattern.sum(dim=-1).transpose(1, 2)[..., None]
        return torch.cat([_exact(view.without_prompt(x)), from_prompt, mass], dim=-1)

    def compare(
        self, prompted: Float[Tensor, "B n H parts"], plain: Float[Tensor, "B n H dh"], layer: int, view: View
    ) -> Float[Tensor, "B H 4"]:
        """Subtract `(1-m) z0` and `m z_prompt` from z, and sum the squares."""
        z, from_prompt, mass = prompted.split([plain.shape[-1], plain.shape[-1], 1], dim=-1)
        from_text = (1 - mass) * _exact(plain)
        parts = (z, from_text, from_prompt, z - from_text - from_prompt)
        sizes = torch.stack([torch.linalg.vector_norm(part, dim=-1) for part in parts], dim=3)  # (B, n, H, 4)
        return torch.einsum("bnhp,bn->bhp", sizes.square(), view.tokens.to(sizes))


def _exact(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


class AttentionBias(Probe):
    """Residual of the attention-bias decomposition `z = (1 - m) z0 + m z_prompt`, for each head.

    For text query i: z_i is the head's output with the prompt, z0_i that without it, `m_i = sum_j a_ij` its attention
    to the prompt keys j, and `m_i z_prompt_i = sum_j a_ij v_j` with their values v_j. If the prompt did nothing but
    take a part of the head's attention, z would be the sum of the two terms. The result is the relative size of what is
    left,

    `rho = sqrt(sum_i |z_i - (1 - m_i) z0_i - m_i z_prompt_i|^2 / sum_i |z_i|^2)`,

    over the real tokens i of an input, then the mean over inputs. It is >= 0, without unit; 0 = the decomposition is
    exact, higher = the prompt acts on this head more through changes of the text's own queries, keys and values. In
    layer 0 it is 0 up to rounding, because these are the same as without the prompt. `result.data` also has the sizes
    of the two terms relative to z, `text_part` and `prompt_part`.

    `positions="shared"` (default): in the pass without the prompt, text has the position numbers it has after the
    prompt. With `"own"` it begins at 0, and learned positions alone leave a residual.

    Dimensions: prompt, layer, head. In encoder-decoders the encoder's self-attention is measured.

    Raises:
        ProbeError: no prompt is given, or unknown *positions*.

    Reference: He et al. 2022, *Towards a unified view of parameter-efficient transfer learning*, section 3.1; Petrov et
    al. 2024, *When do prompting and prefix-tuning work?*

    >>> AttentionBias().name
    'attention_bias'
    """

    title = "What attention bias does not explain"

    @checked()
    def __init__(self, positions: Literal["own", "shared"] = "shared", name: str | None = None) -> None:
        if positions not in ("own", "shared"):
            raise ProbeError(f"positions must be 'own' or 'shared', got {positions!r}")
        self.positions = positions
        self.name = name or "attention_bias" + ("_own_positions" if positions == "own" else "")

    def captures(self) -> dict[str, Capture]:
        """Compare both passes inside the hooks: head outputs are too large to store."""
        return {"parts": HeadOutputParts()}

    def compute(self, entries: Entries) -> ProbeResult:
        """Take square roots of the relative sizes, for each input."""
        shares = {prompt: self._shares(entries, prompt) for prompt in entries.prompts}
        result = entries.result(
            {prompt: share[..., 2] for prompt, share in shares.items()},
            units="relative to |z|",
            direction="0 = the prompt only takes a part of the head's attention, higher = more than that",
            range=(0.0, None),
        )
        for i, name in enumerate(_PARTS):
            means = np.stack([np.nanmean(share[..., i], axis=0) for share in shares.values()])
            result.data[name] = (("prompt", "layer", "head"), means)
        return result

    def _shares(self, entries: Entries, prompt: str) -> Float[np.ndarray, "X L H 3"]:
        sums = np.concatenate([part["values"].astype(np.float64) for part in entries.prompted("parts", prompt)])
        whole = sums[..., :1]
        return np.sqrt(sums[..., 1:] / np.where(whole > 0, whole, np.nan))
