"""Tiny models that do not say the same token whatever they see."""

from functools import cache

import torch

from promptscope.models import HookedModel, load_model
from tests.tiny_models import tiny_hf_model
from tests.tiny_tokenizer import tiny_tokenizer


@cache
def lively(family: str) -> HookedModel:
    """Load a tiny model of 18 words without constants: no biases, plain norms, and layers that count."""
    model = tiny_hf_model(family, vocab=18)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
            elif ".h." in name or ".layers." in name:
                parameter.mul_(3.0)
    return load_model(model, tokenizer=tiny_tokenizer())
