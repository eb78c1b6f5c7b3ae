"""The place of each hook point in the modules of Hugging Face models, for nnsight, in the order of the forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from promptscope.errors import ModelError
from promptscope.models.families import Family


@dataclass(frozen=True)
class Spot:
    """The place of a hook point for nnsight: the `path` to a module, its `input` or `output`, and the part of it.

    `view` is `whole`; `first` (the first entry of a tuple); `heads` (reshaped to heads of size d_head); or `query`,
    `key`, `value` (a third of a fused projection, reshaped to heads). A part of the path that begins with `source:` is
    the operation of a module's `forward` whose name begins with the rest.
    """

    path: str
    at: str = "output"
    view: str = "whole"


_CALL = "source:attention_interface"
_SCORES = (f"{_CALL}.source:nn_functional_softmax", "input")
_PATTERN = (f"{_CALL}.source:nn_functional_dropout", "output")


def _attention(module: str) -> dict[str, Spot]:
    return {
        "attn.hook_attn_scores": Spot(f"{module}.{_SCORES[0]}", _SCORES[1]),
        "attn.hook_pattern": Spot(f"{module}.{_PATTERN[0]}", _PATTERN[1]),
    }


_GPT2: dict[str, Spot] = {
    "embed.hook_out": Spot("transformer.wte"),
    "pos_embed.hook_out": Spot("transformer.wpe"),
    "blocks.{i}.hook_resid_pre": Spot("transformer.h.{i}", "input"),
    "blocks.{i}.attn.hook_q": Spot("transformer.h.{i}.attn.c_attn", view="query"),
    "blocks.{i}.attn.hook_k": Spot("transformer.h.{i}.attn.c_attn", view="key"),
    "blocks.{i}.attn.hook_v": Spot("transformer.h.{i}.attn.c_attn", view="value"),
    **{f"blocks.{{i}}.{name}": spot for name, spot in _attention("transformer.h.{i}.attn").items()},
    "blocks.{i}.attn.hook_z": Spot("transformer.h.{i}.attn.c_proj", "input", "heads"),
    "blocks.{i}.hook_attn_out": Spot("transformer.h.{i}.attn", view="first"),
    "blocks.{i}.hook_resid_mid": Spot("transformer.h.{i}.ln_2", "input"),
    "blocks.{i}.mlp.hook_pre": Spot("transformer.h.{i}.mlp.c_fc"),
    "blocks.{i}.mlp.hook_post": Spot("transformer.h.{i}.mlp.c_proj", "input"),
    "blocks.{i}.hook_mlp_out": Spot("transformer.h.{i}.mlp"),
    "blocks.{i}.hook_resid_post": Spot("transformer.h.{i}", view="first"),
    "ln_final.hook_out": Spot("transformer.ln_f"),
    "unembed.hook_in": Spot("lm_head", "input"),
    "unembed.hook_out": Spot("lm_head"),
}
_LLAMA: dict[str, Spot] = {
    "embed.hook_out": Spot("model.embed_tokens"),
    "blocks.{i}.hook_resid_pre": Spot("model.layers.{i}", "input"),
    "blocks.{i}.attn.hook_q": Spot("model.layers.{i}.self_attn.q_proj", view="heads"),
    "blocks.{i}.attn.hook_k": Spot("model.layers.{i}.self_attn.k_proj", view="heads"),
    "blocks.{i}.attn.hook_v": Spot("model.layers.{i}.self_attn.v_proj", view="heads"),
    **{f"blocks.{{i}}.{name}": spot for name, spot in _attention("model.layers.{i}.self_attn").items()},
    "blocks.{i}.attn.hook_z": Spot("model.layers.{i}.self_attn.o_proj", "input", "heads"),
    "blocks.{i}.hook_attn_out": Spot("model.layers.{i}.self_attn", view="first"),
    "blocks.{i}.hook_resid_mid": Spot("model.layers.{i}.post_attention_layernorm", "input"),
    "blocks.{i}.mlp.hook_pre": Spot("model.layers.{i}.mlp.gate_proj"),
    "blocks.{i}.mlp.hook_post": Spot("model.layers.{i}.mlp.down_proj", "input"),
    "blocks.{i}.hook_mlp_out": Spot("model.layers.{i}.mlp"),
    "blocks.{i}.hook_resid_post": Spot("model.layers.{i}", view="first"),
    "ln_final.hook_out": Spot("model.norm"),
    "unembed.hook_in": Spot("lm_head", "input"),
    "unembed.hook_out": Spot("lm_head"),
}
_LAYER = "bert.encoder.layer.{i}"
_BERT: dict[str, Spot] = {
    "embed.hook_out": Spot("bert.embeddings.word_embeddings"),
    "pos_embed.hook_out": Spot("bert.embeddings.position_embeddings"),
    "embed_ln.hook_out": Spot("bert.embeddings.LayerNorm"),
    "blocks.{i}.hook_resid_pre": Spot(_LAYER, "input"),
    "blocks.{i}.attn.hook_q": Spot(f"{_LAYER}.attention.self.query", view="heads"),
    "blocks.{i}.attn.hook_k": Spot(f"{_LAYER}.attention.self.key", view="heads"),
    "blocks.{i}.attn.hook_v": Spot(f"{_LAYER}.attention.self.value", view="heads"),
    **{f"blocks.{{i}}.{name}": spot for name, spot in _attention(f"{_LAYER}.attention.self").items()},
    "blocks.{i}.attn.hook_z": Spot(f"{_LAYER}.attention.output.dense", "input", "heads"),
    "blocks.{i}.attn.o.hook_out": Spot(f"{_LAYER}.attention.output.dense"),
    "blocks.{i}.ln1.hook_out": Spot(f"{_LAYER}.attention.output.LayerNorm"),
    "blocks.{i}.mlp.hook_pre": Spot(f"{_LAYER}.intermediate.dense"),
    "blocks.{i}.mlp.hook_post": Spot(f"{_LAYER}.output.dense", "input"),
    "blocks.{i}.hook_mlp_out": Spot(f"{_LAYER}.output.dense"),
    "blocks.{i}.hook_resid_post": Spot(_LAYER, view="first"),
    "ln_final.hook_out": Spot("cls.predictions.transform.LayerNorm"),
    "unembed.hook_in": Spot("cls.predictions.decoder", "input"),
    "unembed.hook_out": Spot("cls.predictions.decoder"),
}

SPOTS: Mapping[str, Mapping[str, Spot]] = {"gpt2": _GPT2, "llama": _LLAMA, "bert": _BERT}
"""Family -> hook point (`{i}`: every layer) -> its place, in the order of the forward pass."""


def backend_table(*families: Family) -> pd.DataFrame:
    """Return a table that says for every hook point of *families* which backends have it.

    *families* are those of loaded models, `model.family`. Columns: `family`, `name`, and one of True and False for each
    backend.

    Raises:
        ModelError: no family is given.

    >>> from promptscope.models import load_model
    >>> table = backend_table(load_model("embedded-masked-0").family)
    >>> table.query("family == 'bert' and name == 'embed.hook_out'")["nnsight"].item()
    True
    """
    if not families:
        raise ModelError("backend_table needs at least one family, got none: backend_table(model.family)")
    rows = [
        (family.name, point.site, True, point.site in SPOTS.get(family.name, {}))
        for family in families
        for point in family.points
    ]
    return pd.DataFrame(rows, columns=["family", "name", "transformer_lens", "nnsight"])
