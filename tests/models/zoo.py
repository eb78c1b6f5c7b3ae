"""Tiny random models of every architecture that the toolkit is for, from configs: all sizes differ where they can.

Heads, heads of keys and values, and widths are unlike each other, windows are of four tokens, and biases, norms and
buffers are random, so that what is mixed up or forgotten changes the logits.
"""

from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

VOCABULARY, WINDOW = 160, 4
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
GROUPED = SIZES | {"num_key_value_heads": 2}
HEADS_8 = GROUPED | {"head_dim": 8}
HEADS_16 = GROUPED | {"head_dim": 16}
BART: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "pad_token_id": 1,
    "decoder_start_token_id": 2,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "d_model": 32,
    "encoder_layers": 3,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
}
T5: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "d_ff": 64,
    "d_kv": 8,
    "num_layers": 3,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 16,
    "pad_token_id": 0,
    "decoder_start_token_id": 0,
    "eos_token_id": 1,
}


@dataclass(frozen=True)
class Entry:
    """A class of transformers, the class of its config, and the config's options."""

    architecture: str
    config: str
    options: dict[str, Any]


ENTRIES: dict[str, Entry] = {
    "llama": Entry("LlamaForCausalLM", "LlamaConfig", dict(**GROUPED)),
    "gpt2": Entry(
        "GPT2LMHeadModel",
        "GPT2Config",
        dict(vocab_size=160, n_embd=32, n_layer=3, n_head=4, n_positions=64, bos_token_id=2, eos_token_id=3),
    ),
    "qwen2": Entry("Qwen2ForCausalLM", "Qwen2Config", dict(**GROUPED)),
    "qwen2_win": Entry(
        "Qwen2ForCausalLM",
        "Qwen2Config",
        dict(**GROUPED, use_sliding_window=True, sliding_window=4, max_window_layers=1),
    ),
    "qwen3": Entry("Qwen3ForCausalLM", "Qwen3Config", dict(**HEADS_16)),
    "mistral": Entry("MistralForCausalLM", "MistralConfig", dict(**GROUPED, sliding_window=None)),
    "mistral_win": Entry("MistralForCausalLM", "MistralConfig", dict(**GROUPED, sliding_window=4)),
    "gemma": Entry("GemmaForCausalLM", "GemmaConfig", dict(**HEADS_8)),
    "gemma2": Entry(
        "Gemma2ForCausalLM",
        "Gemma2Config",
        dict(
            **HEADS_8,
            sliding_window=4,
            query_pre_attn_scalar=8,
            attn_logit_softcapping=2.0,
            final_logit_softcapping=5.0,
        ),
    ),
    "gemma3": Entry(
        "Gemma3ForCausalLM",
        "Gemma3TextConfig",
        dict(
            **HEADS_16,
            sliding_window=4,
            query_pre_attn_scalar=8,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        ),
    ),
    "phi": Entry("PhiForCausalLM", "PhiConfig", dict(**SIZES, partial_rotary_factor=0.5)),
    "phi3": Entry("Phi3ForCausalLM", "Phi3Config", dict(**GROUPED)),
    "opt": Entry(
        "OPTForCausalLM",
        "OPTConfig",
        dict(
            vocab_size=160,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            ffn_dim=64,
            max_position_embeddings=64,
            pad_token_id=1,
            word_embed_proj_dim=32,
        ),
    ),
    "opt_proj": Entry(
        "OPTForCausalLM",
        "OPTConfig",
        dict(
            vocab_size=160,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            ffn_dim=64,
            max_position_embeddings=64,
            pad_token_id=1,
            word_embed_proj_dim=16,
            do_layer_norm_before=False,
        ),
    ),
    "bloom": Entry(
        "BloomForCausalLM", "BloomConfig", dict(vocab_size=160, hidden_size=32, n_layer=3, n_head=4, pad_token_id=1)
    ),
    "falcon": Entry(
        "FalconForCausalLM",
        "FalconConfig",
        dict(
            vocab_size=160,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            multi_query=True,
            new_decoder_architecture=False,
            parallel_attn=True,
            bias=False,
            alibi=False,
            pad_token_id=1,
            max_position_embeddings=64,
        ),
    ),
    "falcon_new": Entry(
        "FalconForCausalLM",
        "FalconConfig",
        dict(
            vocab_size=160,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_kv_heads=2,
            multi_query=False,
            new_decoder_architecture=True,
            parallel_attn=True,
            bias=False,
            alibi=False,
            pad_token_id=1,
            max_position_embeddings=64,
        ),
    ),
    "falcon_40b": Entry(
        "FalconForCausalLM",
        "FalconConfig",
        dict(
            vocab_size=160,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_kv_heads=2,
            multi_query=True,
            new_decoder_architecture=True,
            bias=True,
            pad_token_id=1,
            max_position_embeddings=64,
        ),
    ),
    "falcon_11b": Entry(
        "FalconForCausalLM",
        "FalconConfig",
        dict(
            vocab_size=160,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_kv_heads=2,
            multi_query=True,
            new_decoder_architecture=True,
            num_ln_in_parallel_attn=1,
            bias=False,
            pad_token_id=1,
            max_position_embeddings=64,
        ),
    ),
    "falcon_alibi": Entry(
        "FalconForCausalLM",
        "FalconConfig",
        dict(
            vocab_size=160,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            multi_query=False,
            new_decoder_architecture=False,
            parallel_attn=False,
            bias=True,
            alibi=True,
            pad_token_id=1,
            max_position_embeddings=64,
        ),
    ),
    "mpt": Entry(
        "MptForCausalLM",
        "MptConfig",
        dict(vocab_size=160, d_model=32, n_layers=3, n_heads=4, expansion_ratio=2, max_seq_len=64, pad_token_id=1),
    ),
    "gptj": Entry(
        "GPTJForCausalLM",
        "GPTJConfig",
        dict(
            vocab_size=160, n_embd=32, n_layer=3, n_head=4, n_positions=64, rotary_dim=4, bos_token_id=2, eos_token_id=3
        ),
    ),
    "gpt_neo": Entry(
        "GPTNeoForCausalLM",
        "GPTNeoConfig",
        dict(
            vocab_size=160,
            hidden_size=32,
            num_layers=4,
            num_heads=4,
            max_position_embeddings=64,
            window_size=4,
            attention_types=[[["global", "local"], 2]],
            bos_token_id=2,
            eos_token_id=3,
        ),
    ),
    "gpt_neox": Entry("GPTNeoXForCausalLM", "GPTNeoXConfig", dict(**SIZES, rotary_pct=0.5)),
    "codegen": Entry(
        "CodeGenForCausalLM",
        "CodeGenConfig",
        dict(
            vocab_size=160,
            n_embd=32,
            n_layer=3,
            n_head=4,
            n_positions=64,
            n_ctx=64,
            rotary_dim=4,
            bos_token_id=2,
            eos_token_id=3,
        ),
    ),
    "stablelm": Entry(
        "StableLmForCausalLM", "StableLmConfig", dict(**GROUPED, partial_rotary_factor=0.5, use_qkv_bias=True)
    ),
    "stablelm_qkn": Entry(
        "StableLmForCausalLM",
        "StableLmConfig",
        dict(**GROUPED, partial_rotary_factor=0.5, qk_layernorm=True, use_parallel_residual=True),
    ),
    "olmo": Entry("OlmoForCausalLM", "OlmoConfig", dict(**GROUPED, clip_qkv=1.0)),
    "olmo2": Entry("Olmo2ForCausalLM", "Olmo2Config", dict(**GROUPED)),
    "olmo3": Entry("Olmo3ForCausalLM", "Olmo3Config", dict(**GROUPED, sliding_window=4)),
    "granite": Entry(
        "GraniteForCausalLM",
        "GraniteConfig",
        dict(
            **GROUPED, embedding_multiplier=3.0, logits_scaling=2.0, residual_multiplier=0.5, attention_multiplier=0.3
        ),
    ),
    "cohere": Entry("CohereForCausalLM", "CohereConfig", dict(**GROUPED, logit_scale=0.5, use_qk_norm=True)),
    "cohere2": Entry(
        "Cohere2ForCausalLM",
        "Cohere2Config",
        dict(
            **HEADS_8,
            logit_scale=0.5,
            sliding_window=4,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        ),
    ),
    "smollm3": Entry("SmolLM3ForCausalLM", "SmolLM3Config", dict(**GROUPED, no_rope_layers=[1, 0, 1])),
    "gpt_oss": Entry(
        "GptOssForCausalLM",
        "GptOssConfig",
        dict(
            **HEADS_8,
            sliding_window=4,
            num_local_experts=4,
            num_experts_per_tok=2,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        ),
    ),
    "mixtral": Entry(
        "MixtralForCausalLM",
        "MixtralConfig",
        dict(**GROUPED, num_local_experts=4, num_experts_per_tok=2, sliding_window=None),
    ),
    "phimoe": Entry(
        "PhimoeForCausalLM",
        "PhimoeConfig",
        dict(**GROUPED, num_local_experts=4, num_experts_per_tok=2, sliding_window=None),
    ),
    "olmoe": Entry("OlmoeForCausalLM", "OlmoeConfig", dict(**GROUPED, num_experts=4, num_experts_per_tok=2)),
    "qwen3_moe": Entry(
        "Qwen3MoeForCausalLM",
        "Qwen3MoeConfig",
        dict(**HEADS_8, moe_intermediate_size=32, num_experts=4, num_experts_per_tok=2),
    ),
    "qwen2_moe": Entry(
        "Qwen2MoeForCausalLM",
        "Qwen2MoeConfig",
        dict(
            **GROUPED,
            moe_intermediate_size=32,
            shared_expert_intermediate_size=32,
            num_experts=4,
            num_experts_per_tok=2,
        ),
    ),
    "starcoder2": Entry("Starcoder2ForCausalLM", "Starcoder2Config", dict(**GROUPED, sliding_window=4)),
    "glm4": Entry("Glm4ForCausalLM", "Glm4Config", dict(**HEADS_8, partial_rotary_factor=0.5)),
    "nemotron": Entry("NemotronForCausalLM", "NemotronConfig", dict(**GROUPED, partial_rotary_factor=0.5)),
    "exaone4": Entry(
        "Exaone4ForCausalLM", "Exaone4Config", dict(**GROUPED, sliding_window=4, sliding_window_pattern=2)
    ),
    "gpt_bigcode": Entry(
        "GPTBigCodeForCausalLM",
        "GPTBigCodeConfig",
        dict(
            vocab_size=160,
            n_embd=32,
            n_layer=3,
            n_head=4,
            n_positions=64,
            multi_query=True,
            bos_token_id=2,
            eos_token_id=3,
        ),
    ),
    "xglm": Entry(
        "XGLMForCausalLM",
        "XGLMConfig",
        dict(
            vocab_size=160,
            d_model=32,
            num_layers=3,
            attention_heads=4,
            ffn_dim=64,
            max_position_embeddings=64,
            pad_token_id=1,
        ),
    ),
    "deepseek_v3": Entry(
        "DeepseekV3ForCausalLM",
        "DeepseekV3Config",
        dict(
            **SIZES,
            num_key_value_heads=4,
            q_lora_rank=16,
            kv_lora_rank=16,
            qk_rope_head_dim=4,
            qk_nope_head_dim=8,
            v_head_dim=8,
            n_routed_experts=4,
            num_experts_per_tok=2,
            n_group=1,
            topk_group=1,
            moe_intermediate_size=32,
            first_k_dense_replace=1,
            n_shared_experts=1,
        ),
    ),
    "modernbert_decoder": Entry(
        "ModernBertDecoderForCausalLM",
        "ModernBertDecoderConfig",
        dict(**SIZES, cls_token_id=2, sep_token_id=3, global_attn_every_n_layers=2, local_attention=4),
    ),
    "openai_gpt": Entry(
        "OpenAIGPTLMHeadModel", "OpenAIGPTConfig", dict(vocab_size=160, n_embd=32, n_layer=3, n_head=4, n_positions=64)
    ),
    # Architectures that nobody asked for: what is derived and measured must do for them as well.
    "glm": Entry("GlmForCausalLM", "GlmConfig", dict(**HEADS_8, partial_rotary_factor=0.5)),
    "seed_oss": Entry("SeedOssForCausalLM", "SeedOssConfig", dict(**HEADS_16)),
    "arcee": Entry("ArceeForCausalLM", "ArceeConfig", dict(**GROUPED)),
    "apertus": Entry("ApertusForCausalLM", "ApertusConfig", dict(**GROUPED)),
    "ernie4_5": Entry("Ernie4_5ForCausalLM", "Ernie4_5Config", dict(**HEADS_8)),
    "hunyuan": Entry("HunYuanDenseV1ForCausalLM", "HunYuanDenseV1Config", dict(**HEADS_8)),
    "granitemoe": Entry(
        "GraniteMoeForCausalLM", "GraniteMoeConfig", dict(**GROUPED, num_local_experts=4, num_experts_per_tok=2)
    ),
    "ministral3": Entry("Ministral3ForCausalLM", "Ministral3Config", dict(**HEADS_8)),
    "nanochat": Entry("NanoChatForCausalLM", "NanoChatConfig", dict(**GROUPED)),
    "vaultgemma": Entry("VaultGemmaForCausalLM", "VaultGemmaConfig", dict(**HEADS_8, sliding_window=4)),
    "jais2": Entry("Jais2ForCausalLM", "Jais2Config", dict(**GROUPED)),
    "minimax_m2": Entry(
        "MiniMaxM2ForCausalLM",
        "MiniMaxM2Config",
        dict(**HEADS_8, rotary_dim=4, num_local_experts=4, num_experts_per_tok=2),
    ),
    "glm4_moe": Entry(
        "Glm4MoeForCausalLM",
        "Glm4MoeConfig",
        dict(**HEADS_8, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, n_group=1, topk_group=1),
    ),
    "flex_olmo": Entry("FlexOlmoForCausalLM", "FlexOlmoConfig", dict(**GROUPED, num_experts=4, num_experts_per_tok=2)),
    "lfm2": Entry("Lfm2ForCausalLM", "Lfm2Config", dict(**GROUPED, layer_types=["full_attention"] * 3)),
    "laguna": Entry(
        "LagunaForCausalLM",
        "LagunaConfig",
        dict(
            **GROUPED,
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=32,
            shared_expert_intermediate_size=32,
        ),
    ),
    "llama4": Entry(
        "Llama4ForCausalLM",
        "Llama4TextConfig",
        dict(**HEADS_8, num_local_experts=4, intermediate_size_mlp=64, attention_chunk_size=64),
    ),
    "llama4_chunks": Entry(
        "Llama4ForCausalLM",
        "Llama4TextConfig",
        dict(**HEADS_8, num_local_experts=4, intermediate_size_mlp=64, attention_chunk_size=4),
    ),
    "afmoe": Entry(
        "AfmoeForCausalLM",
        "AfmoeConfig",
        dict(**HEADS_8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, sliding_window=4),
    ),
    "bert_decoder": Entry("BertLMHeadModel", "BertConfig", dict(**SIZES, is_decoder=True)),
    "bert": Entry("BertForMaskedLM", "BertConfig", dict(**SIZES)),
    "roberta": Entry("RobertaForMaskedLM", "RobertaConfig", dict(**SIZES, type_vocab_size=1)),
    "xlm_r": Entry("XLMRobertaForMaskedLM", "XLMRobertaConfig", dict(**SIZES, type_vocab_size=1)),
    "camembert": Entry("CamembertForMaskedLM", "CamembertConfig", dict(**SIZES, type_vocab_size=1)),
    "distilbert": Entry(
        "DistilBertForMaskedLM",
        "DistilBertConfig",
        dict(vocab_size=160, dim=32, n_layers=3, n_heads=4, hidden_dim=64, max_position_embeddings=64, pad_token_id=1),
    ),
    "albert": Entry("AlbertForMaskedLM", "AlbertConfig", dict(**SIZES, embedding_size=16, num_hidden_groups=1)),
    "electra": Entry("ElectraForMaskedLM", "ElectraConfig", dict(**SIZES, embedding_size=16)),
    "modernbert": Entry(
        "ModernBertForMaskedLM",
        "ModernBertConfig",
        dict(**SIZES, cls_token_id=2, sep_token_id=3, global_attn_every_n_layers=2, local_attention=4),
    ),
    "deberta_v2": Entry(
        "DebertaV2ForMaskedLM",
        "DebertaV2Config",
        dict(
            **SIZES,
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            position_buckets=8,
            share_att_key=True,
            position_biased_input=False,
            norm_rel_ebd="layer_norm",
        ),
    ),
    "t5": Entry("T5ForConditionalGeneration", "T5Config", dict(**T5)),
    "mt5": Entry("MT5ForConditionalGeneration", "MT5Config", dict(**T5)),
    "bart": Entry("BartForConditionalGeneration", "BartConfig", dict(**BART)),
    "mbart": Entry("MBartForConditionalGeneration", "MBartConfig", dict(**BART, scale_embedding=True)),
    "pegasus": Entry("PegasusForConditionalGeneration", "PegasusConfig", dict(**BART, scale_embedding=True)),
    "marian": Entry("MarianMTModel", "MarianConfig", dict(**BART, scale_embedding=True)),
    "m2m100": Entry("M2M100ForConditionalGeneration", "M2M100Config", dict(**BART, scale_embedding=True)),
    "blenderbot": Entry("BlenderbotForConditionalGeneration", "BlenderbotConfig", dict(**BART)),
    "longt5": Entry(
        "LongT5ForConditionalGeneration", "LongT5Config", dict(**T5, local_radius=3, encoder_attention_type="local")
    ),
    "switch": Entry(
        "SwitchTransformersForConditionalGeneration",
        "SwitchTransformersConfig",
        dict(**T5, num_experts=4, num_sparse_encoder_layers=1, num_sparse_decoder_layers=1, expert_capacity=64),
    ),
}
NAMES = (*ENTRIES, "t5gemma")
MORE: dict[str, Entry] = {
    # Of transformer-lens' bridges, some that were loaded wrongly once, or refused.
    "bitnet": Entry("BitNetForCausalLM", "BitNetConfig", dict(**GROUPED)),
    "gemma4": Entry(
        "Gemma4ForCausalLM",
        "Gemma4TextConfig",
        dict(
            **HEADS_8,
            global_head_dim=16,
            sliding_window=4,
            hidden_size_per_layer_input=0,
            layer_types=["sliding_attention", "full_attention", "full_attention"],
        ),
    ),
    "glm_moe_dsa": Entry(
        "GlmMoeDsaForCausalLM",
        "GlmMoeDsaConfig",
        dict(
            **SIZES,
            num_key_value_heads=4,
            q_lora_rank=16,
            kv_lora_rank=16,
            qk_rope_head_dim=4,
            qk_nope_head_dim=8,
            v_head_dim=8,
            head_dim=4,
            n_routed_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=32,
            first_k_dense_replace=1,
            index_n_heads=2,
            index_head_dim=8,
            index_topk=64,
        ),
    ),
    "granitemoehybrid": Entry(
        "GraniteMoeHybridForCausalLM",
        "GraniteMoeHybridConfig",
        dict(
            **GROUPED,
            num_local_experts=0,
            shared_intermediate_size=32,
            layer_types=["attention"] * 3,
            position_embedding_type="rope",
            mamba_n_heads=4,
            mamba_d_head=16,
        ),
    ),
    "bart_untied": Entry("BartForConditionalGeneration", "BartConfig", dict(**BART, tie_word_embeddings=False)),
    # Without a bridge of their own.
    "ministral": Entry("MinistralForCausalLM", "MinistralConfig", dict(**HEADS_8, sliding_window=4)),
    "cwm": Entry("CwmForCausalLM", "CwmConfig", dict(**HEADS_8, sliding_window=4)),
    "hyperclovax": Entry("HyperCLOVAXForCausalLM", "HyperCLOVAXConfig", dict(**HEADS_8)),
    "granitemoeshared": Entry(
        "GraniteMoeSharedForCausalLM",
        "GraniteMoeSharedConfig",
        dict(**GROUPED, num_local_experts=4, num_experts_per_tok=2, shared_intermediate_size=32),
    ),
    "granite_swa": Entry("GraniteSWAForCausalLM", "GraniteSWAConfig", dict(**GROUPED, sliding_window=4)),
    "mellum": Entry(
        "MellumForCausalLM",
        "MellumConfig",
        dict(**HEADS_8, moe_intermediate_size=32, num_experts=4, num_experts_per_tok=2, sliding_window=4),
    ),
    "dots1": Entry(
        "Dots1ForCausalLM",
        "Dots1Config",
        dict(
            **HEADS_8,
            n_routed_experts=4,
            n_shared_experts=1,
            num_experts_per_tok=2,
            moe_intermediate_size=32,
            first_k_dense_replace=1,
            n_group=1,
            topk_group=1,
        ),
    ),
    "solar_open": Entry(
        "SolarOpenForCausalLM",
        "SolarOpenConfig",
        dict(
            **HEADS_8,
            n_routed_experts=4,
            n_shared_experts=1,
            num_experts_per_tok=2,
            moe_intermediate_size=32,
            n_group=1,
            topk_group=1,
        ),
    ),
    "ernie": Entry("ErnieForMaskedLM", "ErnieConfig", dict(**SIZES)),
    "data2vec_text": Entry("Data2VecTextForMaskedLM", "Data2VecTextConfig", dict(**SIZES)),
    "megatron_bert": Entry("MegatronBertForMaskedLM", "MegatronBertConfig", dict(**SIZES)),
    "roberta_prelayernorm": Entry("RobertaPreLayerNormForMaskedLM", "RobertaPreLayerNormConfig", dict(**SIZES)),
    "xlm_roberta_xl": Entry("XLMRobertaXLForMaskedLM", "XLMRobertaXLConfig", dict(**SIZES)),
    "mpnet": Entry("MPNetForMaskedLM", "MPNetConfig", dict(**SIZES)),
    "roformer": Entry("RoFormerForMaskedLM", "RoFormerConfig", dict(**SIZES)),
    "rembert": Entry("RemBertForMaskedLM", "RemBertConfig", dict(**SIZES, input_embedding_size=16)),
    "plbart": Entry("PLBartForConditionalGeneration", "PLBartConfig", dict(**BART)),
    "mvp": Entry("MvpForConditionalGeneration", "MvpConfig", dict(**BART)),
    "blenderbot_small": Entry("BlenderbotSmallForConditionalGeneration", "BlenderbotSmallConfig", dict(**BART)),
}
"""Architectures that `tests/models/test_more_families.py` alone runs, so that the tests of all others stay short."""

_LATENT: dict[str, Any] = SIZES | {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
_EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
_ONLY_ATTENTION: dict[str, Any] = {"layer_types": ["full_attention"] * 3}
TRIALS: dict[str, Entry] = {
    "ernie4_5_moe": Entry(
        "Ernie4_5_MoeForCausalLM",
        "Ernie4_5_MoeConfig",
        dict(**HEADS_8, moe_num_experts=4, moe_k=2, moe_intermediate_size=32),
    ),
    "jetmoe": Entry(
        "JetMoeForCausalLM",
        "JetMoeConfig",
        dict(**GROUPED, kv_channels=8, num_local_experts=4, num_experts_per_tok=2),
    ),
    "youtu": Entry("YoutuForCausalLM", "YoutuConfig", dict(**_LATENT)),
    "glm4_moe_lite": Entry(
        "Glm4MoeLiteForCausalLM", "Glm4MoeLiteConfig", dict(**_LATENT, **_EXPERTS, n_routed_experts=4)
    ),
    "deepseek_v2": Entry(
        "DeepseekV2ForCausalLM",
        "DeepseekV2Config",
        dict(**_LATENT, **_EXPERTS, n_routed_experts=4, n_shared_experts=1, n_group=1, topk_group=1, head_dim=4),
    ),
    "lfm2_moe": Entry(
        "Lfm2MoeForCausalLM",
        "Lfm2MoeConfig",
        dict(**GROUPED, **_EXPERTS, **_ONLY_ATTENTION, num_experts=4, num_dense_layers=1),
    ),
    "qwen3_5": Entry("Qwen3_5ForCausalLM", "Qwen3_5TextConfig", dict(**HEADS_16, **_ONLY_ATTENTION)),
    "qwen3_5_moe": Entry(
        "Qwen3_5MoeForCausalLM",
        "Qwen3_5MoeTextConfig",
        dict(**HEADS_16, **_EXPERTS, **_ONLY_ATTENTION, num_experts=4, shared_expert_intermediate_size=32),
    ),
    "qwen3_next": Entry(
        "Qwen3NextForCausalLM",
        "Qwen3NextConfig",
        dict(**HEADS_16, **_EXPERTS, **_ONLY_ATTENTION, num_experts=4, shared_expert_intermediate_size=32),
    ),
    "jamba": Entry(
        "JambaForCausalLM",
        "JambaConfig",
        dict(
            **GROUPED,
            attn_layer_period=1,
            attn_layer_offset=0,
            num_experts=4,
            num_experts_per_tok=2,
            use_mamba_kernels=False,
        ),
    ),
    "gemma3_with_images": Entry(
        "Gemma3ForConditionalGeneration",
        "Gemma3Config",
        dict(
            text_config=HEADS_8
            | {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
            vision_config=dict(
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                image_size=14,
                patch_size=7,
            ),
            mm_tokens_per_image=4,
            image_token_id=150,
            boi_token_id=151,
            eoi_token_id=152,
        ),
    ),
}
"""Architectures that nobody was asked to support and no page lists: hybrids without their recurrent layers, latent
attention, experts, and a model of texts and images that is given texts."""

REFUSED = ("openai_gpt",)
"""Architectures whose bridge is wrong: what loading says of them is tested too."""


def config_of(name: str) -> Any:
    """Return the config of a model of the zoo."""
    if name == "t5gemma":
        part = HEADS_8 | {
            "sliding_window": WINDOW,
            "query_pre_attn_scalar": 8,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 5.0,
        }
        return transformers.T5GemmaConfig(
            encoder=dict(part),
            decoder=dict(part, cross_attention_hidden_size=32),
            vocab_size=VOCABULARY,
            pad_token_id=1,
            bos_token_id=2,
            eos_token_id=3,
        )
    entry = (ENTRIES | MORE | TRIALS)[name]
    return getattr(transformers, entry.config)(**entry.options)


def architecture_of(name: str) -> str:
    """Return the class of a model of the zoo."""
    return "T5GemmaForConditionalGeneration" if name == "t5gemma" else (ENTRIES | MORE | TRIALS)[name].architecture


def make(name: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Build a random model of the zoo."""
    config = config_of(name)
    # Falcon's attention is chosen when it is made, and its two differ (ALiBi); Gemma 2's sdpa, which old transformers
    # take, leaves out the soft cap.
    if config.model_type in ("falcon", "gemma2"):
        config._attn_implementation = "eager"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return filled(getattr(transformers, architecture_of(name))(config), seed).to(dtype)


@torch.no_grad()
def filled(model: PreTrainedModel, seed: int = 0) -> PreTrainedModel:
    """Fill a model with random numbers, its biases, norms and buffers too."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            embeds = "embed" in name.lower() or "wte" in name or "wpe" in name
            parameter.normal_(0, 0.5 if embeds else 0.25, generator=generator)
        else:
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    for name, buffer in model.named_buffers():
        if "final_logits_bias" in name:
            buffer.normal_(0, 0.5, generator=generator)
        if "e_score_correction" in name:
            buffer.normal_(0, 0.1, generator=generator)
    model.tie_weights()
    return model.eval().requires_grad_(False)
