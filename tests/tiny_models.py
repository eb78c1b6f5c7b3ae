"""Tiny random models of every family, from configs; biases and norms are random so that equalities mean something."""

from functools import cache

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from promptscope.models import HookedModel, load_model

FAMILIES = ("gpt2", "llama", "gpt_neox", "bert", "t5")
CAUSAL = ("gpt2", "llama", "gpt_neox")


def tiny_hf_model(
    family: str, dtype: torch.dtype = torch.float32, seed: int = 0, layers: int = 3, d_model: int = 32, vocab: int = 200
) -> PreTrainedModel:
    """Build a random model of *family*; Llama has 4 query and 2 key/value heads, GPT-NeoX rotates a quarter."""
    sizes = {"hidden_size": d_model, "num_hidden_layers": layers, "num_attention_heads": 4, "intermediate_size": 64}
    common = {**sizes, "vocab_size": vocab, "max_position_embeddings": 64}
    model: PreTrainedModel
    if family == "gpt2":
        config = GPT2Config(
            n_layer=layers, n_embd=d_model, n_head=4, vocab_size=vocab, n_positions=64, bos_token_id=1, eos_token_id=2
        )
        model = GPT2LMHeadModel(config)
    elif family == "llama":
        model = LlamaForCausalLM(LlamaConfig(**common, num_key_value_heads=2, bos_token_id=1, eos_token_id=2))
    elif family == "gpt_neox":
        model = GPTNeoXForCausalLM(GPTNeoXConfig(**common, rotary_pct=0.25, bos_token_id=1, eos_token_id=2))
    elif family == "bert":
        model = BertForMaskedLM(BertConfig(**common))
    elif family == "t5":
        config = T5Config(
            num_layers=layers, d_model=d_model, num_heads=4, d_kv=8, d_ff=64, vocab_size=vocab, decoder_start_token_id=0
        )
        model = T5ForConditionalGeneration(config)
    else:
        raise ValueError(family)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            mean, std = (0.0, 0.15) if parameter.ndim > 1 else (0.3, 0.3)
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std + mean)
    return model.eval().to(dtype)


@cache
def bare(family: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> PreTrainedModel:
    """Give the truth: a plain Hugging Face model with the weights of `hooked`, which promptscope never touches."""
    return tiny_hf_model(family, dtype, seed).requires_grad_(False)


@cache
def hooked(family: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> HookedModel:
    """Load a tiny model, once for all tests: do not monkeypatch it."""
    return load_model(tiny_hf_model(family, dtype, seed))
