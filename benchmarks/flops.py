"""How much linear algebra a piece of work needs, and how much a run really does.

Only the linear layers are counted (with the unembedding), not attention: they are what a GEMM's peak rate bounds. A
multiply and an add are two floating-point operations (FLOPs). A frozen layer's backward pass is one GEMM, for the
gradient of its input.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

_ATEN = torch.ops.aten


@dataclass(frozen=True)
class Work:
    """What a piece of work needs: FLOPs, and `tokens` of the (encoder's) text that are computed, prompt included.

    `padded_tokens` is their number if every row has its own prompt and is padded to the longest row of its batch.
    """

    tokens: int
    padded_tokens: int
    flops: float

    def __add__(self, other: "Work") -> "Work":
        """Return the sum of both."""
        return Work(self.tokens + other.tokens, self.padded_tokens + other.padded_tokens, self.flops + other.flops)


@dataclass(frozen=True)
class LinearWeights:
    """Number of weights that one token position is multiplied with: in the text, in the decoder, in the unembedding."""

    text: int
    decoder: int
    head: int

    @classmethod
    def of(cls, model: PreTrainedModel) -> "LinearWeights":
        """Count the weights of a model's linear layers."""
        head = model.get_output_embeddings()
        counts = {"text": 0, "decoder": 0, "head": 0}
        for name, module in model.named_modules():
            if not isinstance(module, nn.Linear | Conv1D):
                continue
            if module is head or name.startswith("cls."):
                part = "head"
            # Cross-attention computes its keys and values from the encoder's positions.
            elif name.startswith("decoder.") and not name.endswith(("EncDecAttention.k", "EncDecAttention.v")):
                part = "decoder"
            else:
                part = "text"
            counts[part] += module.weight.numel()
        return cls(**counts)

    def flops(self, text_rows: float, logit_rows: float, decoder_rows: float = 0, training: bool = True) -> float:
        """Return 2 x positions x weights; twice that in training, which also needs the gradient of the inputs."""
        weights = self.text * text_rows + self.decoder * decoder_rows + self.head * logit_rows
        return 2 * weights * (2 if training else 1)


def text_rows(batches: Sequence[Sequence[int]], k: int, causal: bool) -> int:
    """Return how many positions have to be computed for batches of rows of these lengths after a prompt of length *k*.

    Causal models need the prompt only once for all rows, as no prompt position attends to a text; others once per row.
    """
    return sum(map(sum, batches)) + k * (1 if causal else sum(map(len, batches)))


def padded_rows(batches: Sequence[Sequence[int]], k: int) -> int:
    """Return how many positions are computed when all rows of a batch are padded to the longest."""
    return sum((k + max(lengths)) * len(lengths) for lengths in batches)


class CountLinearFlops(TorchDispatchMode):
    """Adds up the FLOPs of the matrix products inside a `with` block; attention's batched ones are not counted."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count it."""
        out = func(*args, **(kwargs or {}))
        if func is _ATEN.mm.default:
            self.total += 2 * args[0].numel() * out.shape[-1]
        elif func is _ATEN.addmm.default:
            self.total += 2 * args[1].numel() * out.shape[-1]
        elif func.name() in ("mkldnn::_linear_pointwise", "mkl::_mkl_linear", "aten::linear"):
            self.total += 2 * args[0].numel() * out.shape[-1]
        return out
