"""A two-layer transformer that predicts the next flip of a coin, and one of the same make that was never trained."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import promptscope as ps

FLIPS = ("tails", "heads")


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token per flip, which adds no token before a text."""
    words = {word: i for i, word in enumerate(("<pad>", "<unk>", *FLIPS))}
    made = Tokenizer(WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", unk_token="<unk>")


def network(steps: int, seed: int, length: int = 32, batch: int = 64) -> tuple[ps.HookedModel, list[float]]:
    """Train on flips of coins whose biases are uniform on [0, 1]; with 0 steps the weights stay random.

    Returns the model and its loss in nats per flip, one number per step.
    """
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=4, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=96, tie_word_embeddings=False, pad_token_id=0,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    made = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(made.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 50) * (1 - step / (steps + 1)))
    losses = []
    for _ in range(steps):
        bias = torch.rand(batch, 1, generator=generator)
        ids = 2 + (torch.rand(batch, length, generator=generator) < bias).long()
        loss = made(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return ps.load_model(made.eval(), tokenizer=tokenizer()), losses
