"""Inputs for probes without a tokenizer, a model that counts its passes, and small captures."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from promptscope.models import HookedModel
from promptscope.store import Capture, View
from promptscope.tasks import Encoded
from tests.tiny_models import hooked

LENGTHS = (7, 4, 12, 11, 10, 3, 15)


def encoded(lengths: Sequence[int] = LENGTHS, family: str = "gpt2", seed: int = 0, vocab: int = 200) -> list[Encoded]:
    """Make inputs of random tokens, the first and the last of each special, as `<s> x </s>`."""
    generator = torch.Generator().manual_seed(seed)
    examples = []
    for number, length in enumerate(lengths):
        ids = torch.randint(3, vocab, (length,), generator=generator).tolist()
        special = [position in (0, length - 1) for position in range(length)]
        segments = ["special" if flag else "text" for flag in special]
        decoder = [0] if family == "t5" else None
        targets = [-100] * (length if decoder is None else 1)
        answer = 0 if family == "t5" else length
        examples.append(Encoded(f"x{number}", ids, segments, special, targets, decoder, answer, False))
    return examples


def counting(family: str = "gpt2") -> tuple[HookedModel, list[dict[str, Any]]]:
    """Return a tiny model and the growing list of its forward passes: size of the batch, and prompt."""
    model = copy.copy(hooked(family))
    passes: list[dict[str, Any]] = []

    def forward_hooked(input_ids: Tensor, attention_mask: Any = None, prompt: Any = None, **options: Any) -> Tensor:
        passes.append({"size": len(input_ids), "prompt": prompt, "offset": options["position_offset"]})
        return HookedModel.forward_hooked(model, input_ids, attention_mask, prompt, **options)

    model.forward_hooked = forward_hooked  # type: ignore[method-assign]
    return model, passes


@dataclass(frozen=True)
class TokenNorms(Capture):
    """Norm of the residual stream at each text token: ragged in dimension 1."""

    site: str = "hook_resid_post"
    ragged_dim = 1

    def reduce(self, x: Tensor, layer: int, view: View) -> Tensor:
        """(B, k+n, d) to (B, n)."""
        return view.without_prompt(x).norm(dim=-1)


@dataclass(frozen=True)
class Residual(Capture):
    """The residual stream where the label is predicted, (B, d)."""

    site: str = "hook_resid_post"

    def reduce(self, x: Tensor, layer: int, view: View) -> Tensor:
        """(B, k+n, d) to (B, d)."""
        return view.at(x, view.answer)
