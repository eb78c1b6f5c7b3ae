"""The hook points whose meaning promptscope documents; `derived_family` finds which of them a model has."""

from promptscope.models.families import Attention, HookPoint, Kind

SELF = {"self": Attention("blocks", "attn", "encoder", "encoder", causal=True)}
SELF_BOTH_WAYS = {"self": Attention("blocks", "attn", "encoder", "encoder", causal=False)}
ENCODER_DECODER = {
    "encoder": Attention("encoder_blocks", "attn", "encoder", "encoder", causal=False),
    "decoder": Attention("decoder_blocks", "self_attn", "decoder", "decoder", causal=True),
    "cross": Attention("decoder_blocks", "cross_attn", "decoder", "encoder", causal=False),
}

ATTENTIONS: dict[Kind, dict[str, Attention]] = {
    "causal": SELF,
    "masked": SELF_BOTH_WAYS,
    "seq2seq": ENCODER_DECODER,
}

NECESSARY = ("embed.hook_out", "encoder_embed.hook_out", "hook_resid_pre", "hook_resid_post", "unembed.hook_out")
"""Hook points that every supported model must have (one of the two embeddings)."""


def _attention(module: str, stack: str, query: str, key: str) -> list[HookPoint]:
    scores = f"batch head {query} {key}"
    return [
        HookPoint(
            f"{module}.hook_q", f"batch {query} head d_head", "queries, before any rotary embedding", stack=stack
        ),
        HookPoint(
            f"{module}.hook_k",
            f"batch {key} kv_head d_head",
            "keys, before any norm and rotary embedding: deep prompts are written here",
            stack=stack,
        ),
        HookPoint(
            f"{module}.hook_v",
            f"batch {key} kv_head d_head",
            "values: deep prompts are written here",
            stack=stack,
        ),
        HookPoint(
            f"{module}.hook_rot_k",
            f"batch {key} kv_head d_head",
            "keys as a cache holds them, after norm and rotary embedding",
            stack=stack,
        ),
        HookPoint(
            f"{module}.hook_attn_scores", scores, "attention scores after masking, before the softmax", stack=stack
        ),
        HookPoint(f"{module}.hook_pattern", scores, "attention pattern: each row sums to one", stack=stack),
        HookPoint(f"{module}.hook_z", f"batch {query} head d_head", "heads' outputs before W_O", stack=stack),
    ]


def _feed_forward(stack: str, pos: str) -> list[HookPoint]:
    shape = f"batch {pos} d_mlp"
    return [
        HookPoint("mlp.hook_pre", shape, "FFN before the non-linearity (gated FFN: the gate)", stack=stack),
        HookPoint("mlp.hook_post", shape, "FFN neurons after the non-linearity (gated FFN: act(gate)*up)", stack=stack),
    ]


def _added(name: str, what: str, stack: str, pos: str) -> HookPoint:
    return HookPoint(name, f"batch {pos} d_model", what, stack=stack)


def _layer(stack: str, pos: str, attentions: dict[str, tuple[str, str]]) -> list[HookPoint]:
    """Return the hook points of a layer; *attentions* maps a module to the positions of its queries and keys."""
    points = [
        _added("hook_resid_pre", "residual stream entering the layer", stack, pos),
        _added("hook_resid_post", "residual stream leaving the layer", stack, pos),
        _added("hook_resid_mid", "residual stream after attention", stack, pos),
    ]
    if "cross_attn" in attentions:
        points[2] = _added("hook_resid_mid", "residual stream after self-attention", stack, pos)
        points.append(_added("hook_resid_mid2", "residual stream after cross-attention", stack, pos))
    for module, (query, key) in attentions.items():
        points += _attention(module, stack, query, key)
    points += _feed_forward(stack, pos)
    return points


CONTRIBUTIONS = {
    "hook_attn_out": "what attention adds to the residual stream",
    "self_attn.hook_out": "what self-attention adds to the residual stream",
    "hook_cross_attn_out": "what cross-attention adds to the residual stream",
    "cross_attn.hook_out": "what cross-attention adds to the residual stream",
    "hook_mlp_out": "what the FFN adds to the residual stream",
    "mlp.hook_out": "what the FFN adds to the residual stream",
}
"""Hook points of what a layer adds to the residual stream, if `resid_post` is `resid_pre` plus their sum."""

INSIDE_NORM = {
    "attn.o.hook_out": "what attention adds, before the LayerNorm",
    "self_attn.o.hook_out": "what self-attention adds, before the LayerNorm",
    "cross_attn.o.hook_out": "what cross-attention adds, before the LayerNorm",
    "ln1.hook_out": "residual stream after attention and LayerNorm",
    "mlp.out.hook_out": "what the FFN adds, before the LayerNorm",
}
"""Hook points of models whose layers apply a LayerNorm to the residual sum (post-norm)."""


def top_points(kind: Kind) -> tuple[list[HookPoint], list[HookPoint]]:
    """Return the hook points before and after the layers."""
    width = "batch pos d_model"
    if kind == "seq2seq":
        said = "encoder's token embeddings: input-level prompts are written here"
        return [
            HookPoint("embed.hook_out", "batch pos d_embed", said),
            HookPoint("encoder_embed.hook_out", "batch pos d_embed", said),
        ], [
            HookPoint("encoder_ln_final.hook_out", width, "encoder's output"),
            HookPoint("decoder_ln_final.hook_out", "batch dec_pos d_model", "decoder's output"),
            HookPoint("unembed.hook_out", "batch dec_pos d_vocab", "logits"),
        ]
    before = [
        HookPoint("embed.hook_out", "batch pos d_embed", "token embeddings: input-level prompts are written here"),
        HookPoint("pos_embed.hook_out", "batch pos d_embed", "learned position embeddings"),
        HookPoint("embed_ln.hook_out", "batch pos d_embed", "embeddings after their LayerNorm"),
    ]
    norm = "residual stream after the final norm" if kind == "causal" else "LayerNorm of the masked-LM head"
    return before, [
        HookPoint("ln_final.hook_out", width if kind == "causal" else "batch pos d_embed", norm),
        HookPoint("unembed.hook_out", "batch pos d_vocab", "logits"),
    ]


def layer_points(kind: Kind) -> list[HookPoint]:
    """Return the hook points of the layers, without those of contributions to the residual stream."""
    if kind != "seq2seq":
        return _layer("blocks", "pos", {"attn": ("pos", "pos")})
    decoder = {"self_attn": ("dec_pos", "dec_pos"), "cross_attn": ("dec_pos", "pos")}
    return _layer("encoder_blocks", "pos", {"attn": ("pos", "pos")}) + _layer("decoder_blocks", "dec_pos", decoder)


def contribution_points(stack: str, names: dict[str, str]) -> list[HookPoint]:
    """Return *names* (from `CONTRIBUTIONS` or `INSIDE_NORM`) as hook points of a list of layers."""
    pos = "dec_pos" if stack == "decoder_blocks" else "pos"
    return [_added(name, what, stack, pos) for name, what in names.items()]
