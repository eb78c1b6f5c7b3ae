"""The models that are timed: SmolLM2-135M with its weights, the others as published shapes with random weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from benchmarks.ways import pack_weights
from promptscope.engine import is_packed
from promptscope.models import HookedModel, load_model
from tests.smollm2 import smollm2_folder


@dataclass(frozen=True)
class Subject:
    """One set of weights: `bare` for the baselines, `hooked` for promptscope; `prepacking`: what packing them cost."""

    name: str
    bare: PreTrainedModel
    hooked: HookedModel
    prepacking: dict[str, float]

    @property
    def vocab(self) -> int:
        """Number of token ids."""
        return self.hooked.shape.vocab_size


def _smollm2() -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(smollm2_folder(), dtype=torch.float32)


def _gpt2(**sizes: Any) -> PreTrainedModel:
    return GPT2LMHeadModel(GPT2Config(**sizes))


def _llama(
    d_model: int, layers: int, vocab: int, d_ff: int | None = None, heads: int = 4, kv_heads: int = 2
) -> PreTrainedModel:
    sizes: dict[str, Any] = {"hidden_size": d_model, "intermediate_size": d_ff or 2 * d_model}
    sizes |= {"num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads}
    return LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=vocab))


def _bert(**sizes: Any) -> PreTrainedModel:
    return BertForMaskedLM(BertConfig(**sizes))


def _t5(d_model: int, d_ff: int, layers: int, heads: int, d_kv: int = 64, vocab: int = 32128) -> PreTrainedModel:
    sizes: dict[str, Any] = {
        "d_model": d_model,
        "d_ff": d_ff,
        "num_layers": layers,
        "num_heads": heads,
        "d_kv": d_kv,
        "vocab_size": vocab,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "decoder_start_token_id": 0,
    }
    config = T5Config(**sizes)
    return T5ForConditionalGeneration(config)


MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "smollm2-135m": _smollm2,
    "smollm2-135m-shape": lambda: _llama(576, 30, 49152, 1536, 9, 3),
    "llama-1b-shape": lambda: _llama(2048, 16, 128256, 8192, 32, 8),
    "gpt2-small": _gpt2,
    "bert-base": _bert,
    "t5-small": lambda: _t5(512, 1024, 8, 6),
    "t5-base": lambda: _t5(768, 2048, 12, 12),
    "mgpt-shape": lambda: _gpt2(n_embd=2048, n_layer=24, n_head=16, vocab_size=100_000, n_positions=2048),
    "mgpt-narrow": lambda: _gpt2(n_embd=256, n_layer=2, n_head=16, vocab_size=512, n_positions=2048),
    "tiny-llama": lambda: _llama(64, 2, 512),
    "tiny-gpt2": lambda: _gpt2(n_embd=64, n_layer=2, n_head=4, vocab_size=512, n_positions=256),
    "tiny-bert": lambda: _bert(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, vocab_size=512
    ),
    "tiny-t5": lambda: _t5(64, 128, 2, 4, d_kv=16, vocab=512),
}
"""Name -> how it is made; `tiny-...` are for --quick."""

DTYPES = dict.fromkeys(("mgpt-shape", "mgpt-narrow", "llama-1b-shape"), torch.bfloat16)
"""What a model's weights are, if not float32."""


class Models:
    """Loads the models; only the last one that was asked for is kept in memory."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self._held: Subject | None = None

    def get(self, name: str, dtype: torch.dtype | None = None) -> Subject:
        """Return a frozen model in evaluation mode, by default in the dtype that `DTYPES` gives."""
        dtype = dtype or DTYPES.get(name, torch.float32)
        if self._held is None or (self._held.name, self._held.bare.dtype) != (name, dtype):
            self._held = None  # frees it before the next one is loaded
            self._held = load_subject(name, self.device, dtype)
        return self._held


@contextmanager
def _made_in(dtype: torch.dtype) -> Iterator[None]:
    """Create weights in half precision from the start: in float32 those of a large model would not fit into memory."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype if dtype == torch.bfloat16 else before)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def load_subject(name: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Subject:
    """Make a model, and a `HookedModel` that shares its weights."""
    torch.manual_seed(0)
    with _made_in(dtype):
        bare = MODELS[name]().eval().requires_grad_(False)
    torch.nn.Module.to(bare, device=device, dtype=dtype)
    # On random tokens a row could write an end token at any time; all rows have to write equally many tokens.
    if bare.can_generate():
        bare.generation_config.eos_token_id = None
        bare.generation_config.pad_token_id = 0
    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder()) if name == "smollm2-135m" else None
    hooked = load_model(bare, tokenizer=tokenizer)
    is_packed(hooked)  # a comparison that runs once per model; it must not count as work of a case
    return Subject(name, bare, hooked, pack_weights(hooked))
