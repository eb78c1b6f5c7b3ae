"""Adapters for architectures that TransformerLens lacks or handles wrongly, added to its own registry."""

from typing import Any

from transformer_lens.factories.architecture_adapter_factory import (
    SUPPORTED_ARCHITECTURES,
    ArchitectureAdapterFactory,
)
from transformer_lens.model_bridge.architecture_adapter import ArchitectureAdapter
from transformer_lens.model_bridge.generalized_components import (
    AttentionBridge,
    BlockBridge,
    EmbeddingBridge,
    LinearBridge,
    MLPBridge,
    NormalizationBridge,
    PosEmbedBridge,
    UnembeddingBridge,
)
from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent
from transformer_lens.model_bridge.supported_architectures.phimoe import PhiMoEArchitectureAdapter
from transformer_lens.model_bridge.supported_architectures.roberta import RobertaArchitectureAdapter

from promptscope.models.falcon import FalconAdapter


class MaskedAdapter(ArchitectureAdapter):
    """Base of adapters for an encoder with a masked-LM head; class attributes say where its parts are."""

    supports_generation = False
    embeddings: dict[str, str]
    """Component -> module of the embeddings: `embed`, `pos_embed`, `token_type_embed`, `embed_ln`."""
    layers: str
    attention: str
    projections: tuple[str, str, str, str]
    """Query, key, value and output, inside of the attention."""
    feed_forward: tuple[str, str]
    feed_forward_module: str | None = None
    norms: dict[str, str]
    """`ln1` and `ln2` of a layer, as far as there are some."""
    head: dict[str, str]
    """`mlm_head` (a linear layer), `ln_final` and `unembed`."""

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        self.cfg.normalization_type = "LN"
        self.cfg.positional_embedding_type = "standard"
        self.cfg.final_rms = False
        self.cfg.gated_mlp = False
        self.cfg.attn_only = False
        self.cfg.attention_dir = "bidirectional"
        self.supports_fold_ln = False
        self.weight_processing_conversions = {}
        kinds = {"embed_ln": self._norm, "pos_embed": lambda name: PosEmbedBridge(name=name)}
        embeddings = {
            part: kinds.get(part, lambda name: EmbeddingBridge(name=name))(name)
            for part, name in self.embeddings.items()
        }
        self.component_mapping = {
            **embeddings,
            "blocks": self._block(),
            "mlm_head": LinearBridge(name=self.head["mlm_head"]),
            "ln_final": self._norm(self.head["ln_final"]),
            "unembed": UnembeddingBridge(name=self.head["unembed"]),
        }

    def _norm(self, name: str) -> NormalizationBridge:
        return NormalizationBridge(name=name, config=self.cfg, use_native_layernorm_autograd=True)

    def _block(self) -> BlockBridge:
        projections: dict[str, GeneralizedComponent] = {
            part: LinearBridge(name=name) for part, name in zip("qkvo", self.projections, strict=True)
        }
        first, last = (LinearBridge(name=name) for name in self.feed_forward)
        parts: dict[str, Any] = {
            "attn": AttentionBridge(name=self.attention, config=self.cfg, submodules=projections),
            "mlp": MLPBridge(name=self.feed_forward_module, config=self.cfg, submodules={"in": first, "out": last}),
            **{part: self._norm(name) for part, name in self.norms.items()},
        }
        if self.feed_forward_module is not None:
            return BlockBridge(name=self.layers, submodules=parts)
        # The two linear layers lie apart, so that nothing calls the FFN as a whole.
        aliases = {"hook_mlp_out": "mlp.out.hook_out", "hook_mlp_in": "mlp.in.hook_in"}
        return BlockBridge(name=self.layers, hook_alias_overrides=aliases, submodules=parts)


class DistilBertAdapter(MaskedAdapter):
    """Adapter for `DistilBertForMaskedLM`."""

    embeddings: dict[str, str] = {  # noqa: RUF012
        "embed": "distilbert.embeddings.word_embeddings",
        "pos_embed": "distilbert.embeddings.position_embeddings",
        "embed_ln": "distilbert.embeddings.LayerNorm",
    }
    layers = "distilbert.transformer.layer"
    attention = "attention"
    projections = ("q_lin", "k_lin", "v_lin", "out_lin")
    feed_forward = ("ffn.lin1", "ffn.lin2")
    norms: dict[str, str] = {"ln1": "sa_layer_norm", "ln2": "output_layer_norm"}  # noqa: RUF012
    head: dict[str, str] = {  # noqa: RUF012
        "mlm_head": "vocab_transform",
        "ln_final": "vocab_layer_norm",
        "unembed": "vocab_projector",
    }


class ElectraAdapter(MaskedAdapter):
    """Adapter for `ElectraForMaskedLM`, the generator of ELECTRA."""

    embeddings: dict[str, str] = {  # noqa: RUF012
        "embed": "electra.embeddings.word_embeddings",
        "token_type_embed": "electra.embeddings.token_type_embeddings",
        "pos_embed": "electra.embeddings.position_embeddings",
        "embed_ln": "electra.embeddings.LayerNorm",
    }
    layers = "electra.encoder.layer"
    attention = "attention"
    projections = ("self.query", "self.key", "self.value", "output.dense")
    feed_forward = ("intermediate.dense", "output.dense")
    norms: dict[str, str] = {"ln1": "attention.output.LayerNorm", "ln2": "output.LayerNorm"}  # noqa: RUF012
    head: dict[str, str] = {  # noqa: RUF012
        "mlm_head": "generator_predictions.dense",
        "ln_final": "generator_predictions.LayerNorm",
        "unembed": "generator_lm_head",
    }


class DebertaV2Adapter(MaskedAdapter):
    """Adapter for `DebertaV2ForMaskedLM` (DeBERTa v2 and v3): relative positions, no position embedding."""

    embeddings: dict[str, str] = {  # noqa: RUF012
        "embed": "deberta.embeddings.word_embeddings",
        "embed_ln": "deberta.embeddings.LayerNorm",
    }
    layers = "deberta.encoder.layer"
    attention = "attention"
    projections = ("self.query_proj", "self.key_proj", "self.value_proj", "output.dense")
    feed_forward = ("intermediate.dense", "output.dense")
    norms: dict[str, str] = {"ln1": "attention.output.LayerNorm", "ln2": "output.LayerNorm"}  # noqa: RUF012
    head: dict[str, str] = {  # noqa: RUF012
        "mlm_head": "cls.predictions.transform.dense",
        "ln_final": "cls.predictions.transform.LayerNorm",
        "unembed": "cls.predictions.decoder",
    }


class AlbertAdapter(MaskedAdapter):
    """Adapter for `AlbertForMaskedLM`; its shared layer is untied into one module per layer (`models.splitting`)."""

    embeddings: dict[str, str] = {  # noqa: RUF012
        "embed": "albert.embeddings.word_embeddings",
        "token_type_embed": "albert.embeddings.token_type_embeddings",
        "pos_embed": "albert.embeddings.position_embeddings",
        "embed_ln": "albert.embeddings.LayerNorm",
    }
    layers = "albert.encoder.albert_layer_groups"
    attention = "albert_layers.0.attention"
    projections = ("query", "key", "value", "dense")
    feed_forward = ("albert_layers.0.ffn", "albert_layers.0.ffn_output")
    norms: dict[str, str] = {  # noqa: RUF012
        "ln1": "albert_layers.0.attention.LayerNorm",
        "ln2": "albert_layers.0.full_layer_layer_norm",
    }
    head: dict[str, str] = {  # noqa: RUF012
        "mlm_head": "predictions.dense",
        "ln_final": "predictions.LayerNorm",
        "unembed": "predictions.decoder",
    }


class ModernBertAdapter(MaskedAdapter):
    """Adapter for `ModernBertForMaskedLM` (pre-norm); its fused projection is split (`models.splitting`)."""

    embeddings: dict[str, str] = {  # noqa: RUF012
        "embed": "model.embeddings.tok_embeddings",
        "embed_ln": "model.embeddings.norm",
    }
    layers = "model.layers"
    attention = "attn"
    projections = ("Wqkv.query", "Wqkv.key", "Wqkv.value", "Wo")
    feed_forward = ("Wi", "Wo")
    feed_forward_module = "mlp"
    norms: dict[str, str] = {"ln2": "mlp_norm"}  # noqa: RUF012
    head: dict[str, str] = {"mlm_head": "head.dense", "ln_final": "head.norm", "unembed": "decoder"}  # noqa: RUF012


def _bert_embeddings(prefix: str, *without: str) -> dict[str, str]:
    parts = {
        "embed": "word_embeddings",
        "token_type_embed": "token_type_embeddings",
        "pos_embed": "position_embeddings",
        "embed_ln": "LayerNorm",
    }
    return {part: f"{prefix}.embeddings.{name}" for part, name in parts.items() if part not in without}


_BERT_HEAD = {
    "mlm_head": "cls.predictions.transform.dense",
    "ln_final": "cls.predictions.transform.LayerNorm",
    "unembed": "cls.predictions.decoder",
}
_ROBERTA_HEAD = {"mlm_head": "lm_head.dense", "ln_final": "lm_head.layer_norm", "unembed": "lm_head.decoder"}


class BertLikeAdapter(MaskedAdapter):
    """An encoder whose layers have BERT's parts under BERT's names."""

    attention = "attention"
    projections = ("self.query", "self.key", "self.value", "output.dense")
    feed_forward = ("intermediate.dense", "output.dense")
    norms: dict[str, str] = {"ln1": "attention.output.LayerNorm", "ln2": "output.LayerNorm"}  # noqa: RUF012
    head: dict[str, str] = _BERT_HEAD


class ErnieAdapter(BertLikeAdapter):
    """`ErnieForMaskedLM`."""

    embeddings: dict[str, str] = _bert_embeddings("ernie")
    layers = "ernie.encoder.layer"


class Data2VecTextAdapter(BertLikeAdapter):
    """`Data2VecTextForMaskedLM`."""

    embeddings: dict[str, str] = _bert_embeddings("data2vec_text")
    layers = "data2vec_text.encoder.layer"
    head: dict[str, str] = _ROBERTA_HEAD


class MegatronBertAdapter(BertLikeAdapter):
    """`MegatronBertForMaskedLM`; norms come first."""

    embeddings: dict[str, str] = _bert_embeddings("bert", "embed_ln")
    layers = "bert.encoder.layer"
    norms: dict[str, str] = {"ln1": "attention.ln", "ln2": "ln"}  # noqa: RUF012


class RobertaPreLayerNormAdapter(BertLikeAdapter):
    """`RobertaPreLayerNormForMaskedLM`."""

    embeddings: dict[str, str] = _bert_embeddings("roberta_prelayernorm")
    layers = "roberta_prelayernorm.encoder.layer"
    norms: dict[str, str] = {"ln1": "attention.LayerNorm", "ln2": "intermediate.LayerNorm"}  # noqa: RUF012
    head: dict[str, str] = _ROBERTA_HEAD


class XLMRobertaXLAdapter(BertLikeAdapter):
    """`XLMRobertaXLForMaskedLM`; norms come first."""

    embeddings: dict[str, str] = _bert_embeddings("roberta", "embed_ln")
    layers = "roberta.encoder.layer"
    norms: dict[str, str] = {"ln1": "attention.self_attn_layer_norm", "ln2": "LayerNorm"}  # noqa: RUF012
    head: dict[str, str] = _ROBERTA_HEAD


class MPNetAdapter(BertLikeAdapter):
    """`MPNetForMaskedLM`; positions are relative besides, and there are no token types."""

    embeddings: dict[str, str] = _bert_embeddings("mpnet", "token_type_embed")
    layers = "mpnet.encoder.layer"
    projections = ("attn.q", "attn.k", "attn.v", "attn.o")
    norms: dict[str, str] = {"ln1": "attention.LayerNorm", "ln2": "output.LayerNorm"}  # noqa: RUF012
    head: dict[str, str] = _ROBERTA_HEAD


class RoFormerAdapter(BertLikeAdapter):
    """`RoFormerForMaskedLM`; positions are rotary."""

    embeddings: dict[str, str] = _bert_embeddings("roformer", "pos_embed")
    layers = "roformer.encoder.layer"


class RemBertAdapter(BertLikeAdapter):
    """`RemBertForMaskedLM`, whose embeddings are narrower than its layers."""

    embeddings: dict[str, str] = _bert_embeddings("rembert")
    layers = "rembert.encoder.layer"
    head: dict[str, str] = {  # noqa: RUF012
        "mlm_head": "cls.predictions.dense",
        "ln_final": "cls.predictions.LayerNorm",
        "unembed": "cls.predictions.decoder",
    }


ADAPTERS: dict[str, type[ArchitectureAdapter]] = {
    "AlbertForMaskedLM": AlbertAdapter,
    "CamembertForMaskedLM": RobertaArchitectureAdapter,
    "Data2VecTextForMaskedLM": Data2VecTextAdapter,
    "DebertaV2ForMaskedLM": DebertaV2Adapter,
    "DistilBertForMaskedLM": DistilBertAdapter,
    "ElectraForMaskedLM": ElectraAdapter,
    "ErnieForMaskedLM": ErnieAdapter,
    "FalconForCausalLM": FalconAdapter,
    "MPNetForMaskedLM": MPNetAdapter,
    "MegatronBertForMaskedLM": MegatronBertAdapter,
    "ModernBertForMaskedLM": ModernBertAdapter,
    "PhimoeForCausalLM": PhiMoEArchitectureAdapter,  # registered there under another spelling only
    "RemBertForMaskedLM": RemBertAdapter,
    "RoFormerForMaskedLM": RoFormerAdapter,
    "RobertaPreLayerNormForMaskedLM": RobertaPreLayerNormAdapter,
    "XLMRobertaForMaskedLM": RobertaArchitectureAdapter,
    "XLMRobertaXLForMaskedLM": XLMRobertaXLAdapter,
}

_KIN = {
    "BlenderbotSmallForConditionalGeneration": "BartForConditionalGeneration",
    "CwmForCausalLM": "LlamaForCausalLM",
    "Dots1ForCausalLM": "Qwen3MoeForCausalLM",
    "GraniteMoeSharedForCausalLM": "GraniteMoeForCausalLM",
    "GraniteSWAForCausalLM": "GraniteForCausalLM",
    "HyperCLOVAXForCausalLM": "GraniteForCausalLM",
    "MellumForCausalLM": "Qwen3MoeForCausalLM",
    "MinistralForCausalLM": "MistralForCausalLM",
    "MvpForConditionalGeneration": "BartForConditionalGeneration",
    "PLBartForConditionalGeneration": "BartForConditionalGeneration",
    "SolarOpenForCausalLM": "Glm4MoeForCausalLM",
}
"""Architectures with the modules of another one, under the same names; what else they do, loading measures."""

ADAPTERS |= {architecture: SUPPORTED_ARCHITECTURES[kin] for architecture, kin in _KIN.items()}

for architecture, adapter in ADAPTERS.items():
    ArchitectureAdapterFactory.register_adapter(architecture, adapter)
