"""The bridge and the plain model: two module trees that share one set of weight tensors."""

import copy
from typing import Any

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
from transformers import PreTrainedModel

from promptscope.errors import ModelError
from promptscope.models.live_attention import make_attention_live
from promptscope.models.native_norms import make_norms_native
from promptscope.models.splitting import own_buffers, split_projections


def share_weights(hf_model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy of *hf_model* with its own modules and config, which shares all parameters and buffers."""
    shared = [*hf_model.parameters(), *hf_model.buffers()]
    return copy.deepcopy(hf_model, memo={id(tensor): tensor for tensor in shared})


def boot_bridge(hf_model: PreTrainedModel) -> TransformerBridge:
    """Boot the TransformerLens bridge on a copy of *hf_model* that shares its weights; freeze every parameter.

    Booting changes the module tree in place; because of the copy, *hf_model* keeps its attention implementation, its
    state dict and `save_pretrained`. Where the parts of fused query/key/value weights cannot be views (GPT-NeoX, BLOOM,
    MPT, CodeGen, Falcon), the bridge holds copies of them.

    Raises:
        ModelError: transformer-lens cannot make a bridge for the model's configuration.
    """
    inner = share_weights(hf_model)
    # Not boot_transformers: with a tokenizer at hand it looks its name up on the Hub.
    inner.set_attn_implementation("eager")
    split_projections(inner)
    own_buffers(inner)
    bridge = _built(inner)
    make_attention_live(bridge, inner)
    _make_embedding_live(bridge, inner)
    make_norms_native(bridge)
    _forget_patterns(bridge)
    # After booting: splitting fused projections makes new, trainable parameters.
    bridge.eval().requires_grad_(False)
    return bridge


def _built(inner: PreTrainedModel) -> TransformerBridge:
    name = type(inner).__name__
    try:
        return build_bridge_from_module(inner, name, hf_config=inner.config)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"transformer-lens cannot make a bridge for this {name} ({error}): it does not support an option in its "
            "config.json. Use a checkpoint with the usual options"
        ) from error


def _make_embedding_live(bridge: TransformerBridge, inner: PreTrainedModel) -> None:
    """Let the encoder of an encoder-decoder use the bridge's embedding, so that its hook point fires."""
    if not inner.config.is_encoder_decoder or not hasattr(bridge, "embed"):
        return
    encoder: Any = inner.get_encoder()
    if not isinstance(encoder.embed_tokens, GeneralizedComponent):
        encoder.embed_tokens = bridge.embed


def _forget_patterns(bridge: TransformerBridge) -> None:
    """Delete each layer's stored attention pattern when the layer is done.

    Bridges of fused query/key/value weights keep the last pattern and its autograd graph, which is never read.
    """
    for module in bridge.modules():
        if "_pattern" in module.__dict__:
            module.register_forward_hook(lambda layer, inputs, output: layer.__dict__.update(_pattern=None))
