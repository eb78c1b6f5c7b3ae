"""What a prompt should do, on bare Hugging Face models, one unpadded row at a time, by other means than ours.

Input-level prompts go in through `inputs_embeds`. Deep prompts are concatenated to the keys and values inside the
attention function, so there are no placeholders to hide; positions are shifted by hand.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask
from transformers.models.gpt_neox.modeling_gpt_neox import apply_rotary_pos_emb as rotary_neox
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb as rotary_llama

from promptscope.prompts import DeepPrompt, Prompt, SoftPrompt
from tests.old_t5 import PACKED_T5, REASON


@dataclass
class Concatenated:
    """Keys (after rotary) and values `[k, head, d_head]` by (part, layer), and the positional bias of T5."""

    pairs: dict[tuple[str, int], tuple[Tensor, Tensor]]
    biases: dict[str, Tensor]


_current: ContextVar[Concatenated] = ContextVar("reference")


def _part(module: torch.nn.Module) -> str:
    return module.reference_part if hasattr(module, "reference_part") else "self"


def _attend(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any) -> Any:
    given, part = _current.get(), _part(module)
    scaling = options.get("scaling")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    bias = options.get("position_bias")
    pair = given.pairs.get((part, module.layer_idx))
    if pair is not None:
        k = len(pair[0])
        key = torch.cat([pair[0].transpose(0, 1)[None].to(key), key], dim=2)
        value = torch.cat([pair[1].transpose(0, 1)[None].to(value), value], dim=2)
        if mask is not None:
            mask = torch.cat([torch.zeros_like(mask[..., :1]).expand(*mask.shape[:-1], k), mask], dim=-1)
        if bias is not None:
            bias = given.biases[part] if part in given.biases else torch.nn.functional.pad(bias, (k, 0))
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = torch.einsum("bhtd,bhsd->bhts", query, key) * scaling
    scores = scores if bias is None else scores + bias
    scores = scores if mask is None else scores + mask
    pattern = scores.softmax(-1)
    return torch.einsum("bhts,bhsd->bthd", pattern, value), pattern


AttentionInterface.register("reference", _attend)
AttentionMaskInterface.register("reference", eager_mask)


def reference_logits(
    hf: PreTrainedModel, family: str, prompt: Prompt, numbers: Mapping[str, Tensor], row: Tensor, decoder: Tensor | None
) -> Tensor:
    """Return the logits `[n, V]` of one row under a prompt whose parameters are *numbers*."""
    ids = row[None]
    extra = {} if decoder is None else {"decoder_input_ids": decoder[None]}
    k = prompt.length
    if isinstance(prompt, SoftPrompt):
        embeds = torch.cat([numbers["embedding"].to(hf.dtype)[None], hf.get_input_embeddings()(ids)], dim=1)
        logits = hf(inputs_embeds=embeds, **extra).logits[0]
        return logits if family == "t5" else logits[k:]
    assert isinstance(prompt, DeepPrompt)
    if family == "t5" and not PACKED_T5:
        pytest.skip(REASON)
    given = _concatenated(hf, family, prompt, numbers, len(row), 0 if decoder is None else len(decoder))
    if family != "t5":
        extra["position_ids"] = torch.arange(k, k + len(row))[None]
    before, token = hf.config._attn_implementation, _current.set(given)
    hf.set_attn_implementation("reference")
    try:
        return hf(input_ids=ids, **extra).logits[0]
    finally:
        hf.set_attn_implementation(before)
        _current.reset(token)


def _concatenated(
    hf: Any, family: str, prompt: DeepPrompt, numbers: Mapping[str, Tensor], n: int, n_decoder: int
) -> Concatenated:
    config, k = hf.config, prompt.length
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    everything = ("encoder", "decoder", "cross") if family == "t5" else ("self",)
    pairs = {}
    for part in prompt.parts or everything:
        names = ("both", "both") if prompt.tied else ("keys", "values")
        keys, values = (numbers[f"numbers.{part}_{name}"].to(hf.dtype).unflatten(-1, (heads, -1)) for name in names)
        if family in ("llama", "gpt_neox"):
            cos, sin = hf.base_model.rotary_emb(keys, torch.arange(k)[None])
            rotary = rotary_llama if family == "llama" else rotary_neox
            keys = torch.stack([rotary(x[None], x[None], cos, sin, unsqueeze_dim=2)[1][0] for x in keys])
        # An encoder and a decoder need not be equally deep.
        n_layers = getattr(config, "num_decoder_layers", None) if part in ("decoder", "cross") else None
        layers = range(n_layers or config.num_hidden_layers) if prompt.layers is None else prompt.layers
        pairs |= {(part, layer): (keys[i], values[i]) for i, layer in enumerate(layers)}
    biases = {}
    if family == "t5":
        for part, stack, size in (("encoder", hf.encoder, n), ("decoder", hf.decoder, n_decoder)):
            first = stack.block[0].layer[0].SelfAttention
            biases[part] = first.compute_bias(k + size, k + size)[:, :, k:]
            for block in stack.block:
                block.layer[0].SelfAttention.reference_part = part
                if part == "decoder":
                    block.layer[1].EncDecAttention.reference_part = "cross"
    return Concatenated(pairs, biases)


def reference(
    hf: PreTrainedModel, family: str, prompt: Prompt, rows: Any, decoder_rows: Any
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Return each row's logits, and the gradient of `direction_loss` for each parameter of *prompt*."""
    numbers = {name: number.detach().clone().requires_grad_() for name, number in prompt.named_parameters()}
    logits = [
        reference_logits(hf, family, prompt, numbers, row, decoder)
        for row, decoder in zip(rows, decoder_rows, strict=True)
    ]
    direction_loss(logits).backward()
    return [row.detach() for row in logits], {name: number.grad for name, number in numbers.items()}


def direction_loss(rows: list[Tensor]) -> Tensor:
    """Weigh every logit with a fixed random number: no two of them can stand in for each other."""
    generator = torch.Generator().manual_seed(2)
    weights = [torch.randn(row.shape, generator=generator, dtype=torch.float64).to(row) for row in rows]
    return torch.stack([(row * weight).sum() for row, weight in zip(rows, weights, strict=True)]).sum()
