"""What promptscope knows of each model family, as data: streams, attentions and hook points."""

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["causal", "masked", "seq2seq"]


@dataclass(frozen=True)
class HookPoint:
    """One hook point of a family, before its layers are counted.

    `name` is relative to its stack (`attn.hook_pattern`) or, when `stack` is None, the full name.
    `acts` is False where a written value is dropped or reaches only a part of what it should.
    """

    name: str
    shape: str
    meaning: str
    acts: bool = True
    stack: str | None = None


@dataclass(frozen=True)
class Attention:
    """One kind of attention: where its keys live, so that deep prompts and probes can name it."""

    stack: str
    module: str
    queries: Literal["encoder", "decoder"]
    keys: Literal["encoder", "decoder"]
    causal: bool


@dataclass(frozen=True)
class Family:
    """A family of architectures that share one table of hook points.

    `attentions` maps the names that `DeepPrompt(parts=...)` takes to where they are. Single-stream models
    have one, `self`; encoder-decoders have `encoder`, `decoder` and `cross`.
    """

    name: str
    kind: Kind
    architecture: str
    attentions: dict[str, Attention]
    points: tuple[HookPoint, ...] = field(repr=False)
    rotary: bool = False
    delegated_attention: bool = False

    @property
    def stacks(self) -> tuple[str, ...]:
        """Names of the layer lists, the main one first."""
        return tuple(dict.fromkeys(attention.stack for attention in self.attentions.values()))


def _attention_points(module: str, stack: str, query: str = "pos", key: str = "pos") -> list[HookPoint]:
    rotated = "before the rotary embedding"
    return [
        HookPoint(f"{module}.hook_q", f"batch {query} head d_head", f"queries, {rotated}", stack=stack),
        HookPoint(
            f"{module}.hook_k",
            f"batch {key} kv_head d_head",
            f"keys, {rotated}: deep prompts are written here",
            stack=stack,
        ),
        HookPoint(
            f"{module}.hook_v",
            f"batch {key} kv_head d_head",
            "values: deep prompts are written here",
            stack=stack,
        ),
        HookPoint(
            f"{module}.hook_attn_scores",
            f"batch head {query} {key}",
            "attention scores after masking, before the softmax",
            stack=stack,
        ),
        HookPoint(
            f"{module}.hook_pattern",
            f"batch head {query} {key}",
            "attention pattern: each row sums to one",
            stack=stack,
        ),
        HookPoint(f"{module}.hook_z", f"batch {query} head d_head", "heads' outputs before W_O", stack=stack),
    ]


def _mlp_points(stack: str, pos: str = "pos") -> list[HookPoint]:
    return [
        HookPoint(
            "mlp.hook_pre",
            f"batch {pos} d_mlp",
            "FFN before the non-linearity (gated FFN: the gate)",
            stack=stack,
        ),
        HookPoint(
            "mlp.hook_post",
            f"batch {pos} d_mlp",
            "FFN neurons after the non-linearity (gated FFN: act(gate)*up)",
            stack=stack,
        ),
    ]


def _residual_points(stack: str, pos: str = "pos") -> list[HookPoint]:
    shape = f"batch {pos} d_model"
    return [
        HookPoint("hook_resid_pre", shape, "residual stream entering the layer", stack=stack),
        HookPoint("hook_resid_post", shape, "residual stream leaving the layer", stack=stack),
    ]


def _contribution_points(stack: str, pos: str = "pos") -> list[HookPoint]:
    shape = f"batch {pos} d_model"
    return [
        HookPoint("hook_attn_out", shape, "what attention adds to the residual stream", stack=stack),
        HookPoint("hook_mlp_out", shape, "what the FFN adds to the residual stream", stack=stack),
    ]


_EMBED = HookPoint("embed.hook_out", "batch pos d_model", "token embeddings: input-level prompts go here")
_POS_EMBED = HookPoint("pos_embed.hook_out", "batch pos d_model", "learned position embeddings")
_LN_FINAL = HookPoint("ln_final.hook_out", "batch pos d_model", "residual stream after the final norm")
_LOGITS = HookPoint("unembed.hook_out", "batch pos d_vocab", "logits")
_MID_READ_ONLY = HookPoint(
    "hook_resid_mid",
    "batch pos d_model",
    "residual stream after attention; a write reaches the FFN but not the skip connection, "
    "so write at hook_attn_out instead",
    acts=False,
    stack="blocks",
)

_SELF = {"self": Attention("blocks", "attn", "encoder", "encoder", causal=True)}
_SELF_BIDIRECTIONAL = {"self": Attention("blocks", "attn", "encoder", "encoder", causal=False)}
_DECODER_ONLY = (
    _EMBED,
    *_residual_points("blocks"),
    *_attention_points("attn", "blocks"),
    *_mlp_points("blocks"),
    *_contribution_points("blocks"),
    _LN_FINAL,
    _LOGITS,
)

GPT2 = Family("gpt2", "causal", "GPT2LMHeadModel", _SELF, (*_DECODER_ONLY, _POS_EMBED, _MID_READ_ONLY))
LLAMA = Family("llama", "causal", "LlamaForCausalLM", _SELF, (*_DECODER_ONLY, _MID_READ_ONLY), rotary=True)
# GPT-NeoX runs attention and FFN in parallel by default: there is no residual stream between them.
GPT_NEOX = Family("gpt_neox", "causal", "GPTNeoXForCausalLM", _SELF, _DECODER_ONLY, rotary=True)
BERT = Family(
    "bert",
    "masked",
    "BertForMaskedLM",
    _SELF_BIDIRECTIONAL,
    (
        _EMBED,
        _POS_EMBED,
        HookPoint("embed_ln.hook_out", "batch pos d_model", "embeddings after their LayerNorm"),
        *_residual_points("blocks"),
        *_attention_points("attn", "blocks"),
        *_mlp_points("blocks"),
        HookPoint("attn.o.hook_out", "batch pos d_model", "what attention adds, before LN", stack="blocks"),
        HookPoint("ln1.hook_out", "batch pos d_model", "residual stream after attention + LN", stack="blocks"),
        HookPoint("hook_mlp_out", "batch pos d_model", "what the FFN adds, before LN", stack="blocks"),
        HookPoint("ln_final.hook_out", "batch pos d_model", "LayerNorm of the masked-LM head"),
        _LOGITS,
    ),
    delegated_attention=True,
)
T5 = Family(
    "t5",
    "seq2seq",
    "T5ForConditionalGeneration",
    {
        "encoder": Attention("encoder_blocks", "attn", "encoder", "encoder", causal=False),
        "decoder": Attention("decoder_blocks", "self_attn", "decoder", "decoder", causal=True),
        "cross": Attention("decoder_blocks", "cross_attn", "decoder", "encoder", causal=False),
    },
    (
        HookPoint("embed.hook_out", "batch pos d_model", "encoder's token embeddings: prompts go here"),
        *_residual_points("encoder_blocks"),
        HookPoint("hook_resid_mid", "batch pos d_model", "residual after attention", stack="encoder_blocks"),
        *_attention_points("attn", "encoder_blocks"),
        *_mlp_points("encoder_blocks"),
        *_contribution_points("encoder_blocks"),
        HookPoint("encoder_ln_final.hook_out", "batch pos d_model", "encoder's output"),
        *_residual_points("decoder_blocks", "dec_pos"),
        HookPoint("hook_resid_mid", "batch dec_pos d_model", "residual after self-attention", stack="decoder_blocks"),
        HookPoint(
            "hook_resid_mid2",
            "batch dec_pos d_model",
            "residual after cross-attention",
            stack="decoder_blocks",
        ),
        *_attention_points("self_attn", "decoder_blocks", "dec_pos", "dec_pos"),
        *_attention_points("cross_attn", "decoder_blocks", "dec_pos", "pos"),
        *_mlp_points("decoder_blocks", "dec_pos"),
        *_contribution_points("decoder_blocks", "dec_pos"),
        HookPoint(
            "hook_cross_attn_out",
            "batch dec_pos d_model",
            "what cross-attention adds to the residual stream",
            stack="decoder_blocks",
        ),
        HookPoint("decoder_ln_final.hook_out", "batch dec_pos d_model", "decoder's output"),
        HookPoint("unembed.hook_out", "batch dec_pos d_vocab", "logits"),
    ),
    delegated_attention=True,
)

FAMILIES: dict[str, Family] = {family.name: family for family in (GPT2, LLAMA, GPT_NEOX, BERT, T5)}
