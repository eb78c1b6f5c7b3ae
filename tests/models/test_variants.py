"""Members of the families that differ from the plain ones in a way that could break a hook point or a prompt."""

from typing import Any

import pytest
import torch
from transformers import (
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

from promptscope.errors import PromptscopeError
from promptscope.inference import generate
from promptscope.models import load_model
from promptscope.prompts import DeepPrompt, SoftPrompt
from tests.batches import ragged
from tests.prompts.references import reference_logits

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 200,
    "max_position_embeddings": 64,
}
T5_SIZES: dict[str, Any] = {
    "num_layers": 2,
    "d_model": 32,
    "num_heads": 4,
    "d_kv": 8,
    "d_ff": 64,
    "vocab_size": 200,
    "decoder_start_token_id": 0,
}
YARN = {"rope_type": "yarn", "factor": 2.0, "rope_theta": 10000.0, "original_max_position_embeddings": 32}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "rope_theta": 10000.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
# Angles of these two change for all positions as soon as a text is longer than 24.
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [2.0, 3.0, 4.0, 5.0],
    "original_max_position_embeddings": 24,
}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0, "original_max_position_embeddings": 24}
BY_LENGTH = {"llama longrope": LONGROPE, "llama dynamic": DYNAMIC}
VARIANTS: dict[str, Any] = {
    **{
        name: lambda rope=rope: LlamaForCausalLM(LlamaConfig(**SIZES, rope_parameters=dict(rope)))
        for name, rope in BY_LENGTH.items()
    },
    "gpt2 scaled by layer": lambda: GPT2LMHeadModel(
        GPT2Config(n_layer=2, n_embd=32, n_head=4, vocab_size=200, n_positions=64, scale_attn_by_inverse_layer_idx=True)
    ),
    "llama tied": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=True)),
    "llama with biases": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True)),
    "llama with wide heads": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=2, head_dim=16)),
    "llama with one key head": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, num_key_value_heads=1)),
    "llama 3 angles": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, rope_parameters=LLAMA3)),
    "llama yarn": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, rope_parameters=YARN)),
    "gpt_neox sequential": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, use_parallel_residual=False)),
    "gpt_neox fully rotary": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, rotary_pct=1.0)),
    "t5 gated, untied": lambda: T5ForConditionalGeneration(
        T5Config(**T5_SIZES, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    ),
    "t5 with narrow heads": lambda: T5ForConditionalGeneration(T5Config(**T5_SIZES | {"d_kv": 4})),
    "t5 with a deeper decoder": lambda: T5ForConditionalGeneration(T5Config(**T5_SIZES, num_decoder_layers=3)),
}


def variant(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = VARIANTS[name]().double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2 + 0.1)
    return model.requires_grad_(False)


@pytest.mark.parametrize("name", VARIANTS)
def test_prompts_do_on_it_what_they_do_on_the_bare_model(name: str) -> None:
    hf = variant(name)
    model = load_model(variant(name))  # runs the self-test: every hook point of the family
    family = model.family.name
    batch = ragged(family)
    for prompt in (SoftPrompt(3), DeepPrompt(3), DeepPrompt(3, layers=[1])):
        prompt.bind(model)
        numbers = dict(prompt.named_parameters())
        for via in ("hooks", "auto"):
            with torch.no_grad():
                logits = model.logits(
                    batch.input_ids,
                    batch.attention_mask,
                    prompt,
                    via=via,  # type: ignore[arg-type]
                    decoder_input_ids=batch.decoder_input_ids,
                )
                for got, row, decoder in zip(batch.real(logits), batch.rows, batch.decoder_rows, strict=True):
                    want = reference_logits(hf, family, prompt, numbers, row, decoder)
                    torch.testing.assert_close(got, want, rtol=0, atol=1e-5 if family == "llama" else 1e-10)


@pytest.mark.parametrize("name", BY_LENGTH)
def test_no_text_gets_angles_that_depend_on_its_length(name: str) -> None:
    """Else a prompt's keys would change with the text that follows, and a short row's with the longest of its batch."""
    model = load_model(variant(name))
    assert model.shape.context == 24
    prompt = SoftPrompt(4).bind(model)
    fits, long = torch.arange(20)[None], torch.arange(21)[None]
    for via in ("hooks", "auto"):
        model.logits(fits, prompt=prompt, via=via)  # type: ignore[arg-type]
        with pytest.raises(PromptscopeError, match="24"):
            model.logits(long, prompt=prompt, via=via)  # type: ignore[arg-type]
        mixed, mask = torch.cat([long, long]), torch.ones(2, 21, dtype=torch.long)
        mask[1, 5:] = 0
        with pytest.raises(PromptscopeError, match="24"):
            model.logits(mixed, mask, prompt, via=via)  # type: ignore[arg-type]
    with pytest.raises(PromptscopeError, match="24"):
        generate(model, prompt, fits, max_new_tokens=2)
