"""Adapter for Falcon's newer decoder (40B, 11B, 180B), whose fused projection TransformerLens splits wrongly."""

from typing import Any

from torch import Tensor, nn
from transformer_lens.model_bridge.generalized_components import NormalizationBridge
from transformer_lens.model_bridge.supported_architectures.falcon import FalconArchitectureAdapter

from promptscope.models.splitting import plain_linear


class FalconAdapter(FalconArchitectureAdapter):
    """Adapter for `FalconForCausalLM`; without `new_decoder_architecture` it does what TransformerLens does."""

    def __init__(self, cfg: Any) -> None:
        newer = bool(getattr(cfg, "new_decoder_architecture", False))
        if newer:
            # Files of the 40B model say multi_query too, which Hugging Face ignores here.
            cfg.multi_query = False
        super().__init__(cfg)
        if newer and cfg.num_ln_in_parallel_attn == 1:  # 11B: one norm for attention and feed-forward network
            assert self.component_mapping is not None
            blocks: Any = self.component_mapping["blocks"]
            blocks.submodules["ln1"] = NormalizationBridge(name="input_layernorm", config=self.cfg)

    def prepare_model(self, hf_model: Any) -> None:
        """Record the number of key-value heads, which TransformerLens does not read from the config."""
        super().prepare_model(hf_model)
        if self._is_new_arch:
            self.cfg.n_key_value_heads = hf_model.config.num_kv_heads

    def _split_falcon_qkv(self, original_attention_component: Any) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        """Split the fused projection, which holds for each key-value head its queries, the key and the value."""
        if not self._is_new_arch:
            return super()._split_falcon_qkv(original_attention_component)
        fused = original_attention_component.query_key_value
        groups = original_attention_component.num_kv_heads

        def parts(rows: Tensor) -> list[Tensor]:
            grouped = rows.detach().unflatten(0, (groups, -1, original_attention_component.head_dim))
            return [part.flatten(0, 2) for part in (grouped[:, :-2], grouped[:, -2:-1], grouped[:, -1:])]

        biases = [None] * 3 if fused.bias is None else parts(fused.bias)
        query, key, value = (plain_linear(w, b) for w, b in zip(parts(fused.weight), biases, strict=True))
        return query, key, value
