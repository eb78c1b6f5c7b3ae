"""Refusal of passes in float16 whose activations overflow and would be cut off without a word.

Encoder-decoders of transformers clamp hidden states in float16, some of them only if one of the batch is infinite. The
result is finite and wrong, and differs between a padded and a packed batch, since the text that overflows decides for
the others.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from promptscope.errors import ModelError

_LARGEST = torch.finfo(torch.float16).max - 1000  # what transformers clamps to


def refuse_overflow(model: PreTrainedModel) -> None:
    """From now on, refuse passes of an encoder-decoder in float16 in which the output of a layer overflows.

    Layers and their parts (attention, feed-forward network) are looked at, since T5 clamps after each part.
    """
    if model.dtype != torch.float16 or not model.config.is_encoder_decoder:
        return
    for stack in [module for module in model.modules() if isinstance(module, nn.ModuleList)]:
        for part in stack:
            part.register_forward_hook(_check)


def _check(part: nn.Module, inputs: Any, output: Any) -> None:
    x = output[0] if isinstance(output, tuple) else output
    if isinstance(x, Tensor) and x.numel() and bool(x.detach().abs().amax() >= _LARGEST):  # NaN passes: it stays NaN
        raise ModelError(
            f"the output of a {type(part).__name__} exceeds the range of float16, and transformers would cut it off, "
            "in some architectures for the whole batch: load the model with dtype='bfloat16' or 'float32', or use a "
            "prompt with smaller values"
        )
