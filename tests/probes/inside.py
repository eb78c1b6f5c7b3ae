"""What goes on inside a model on one unpadded row: of a bare Hugging Face model by its own modules, or of a hooked one.

Every quantity is a list over layers: `pre`, `post` (T, F), `z` (T, H, dh), `v` (T, KV, dh), `pattern` (H, T, T),
`residual` (T, d), where T counts prompt slots and text.
"""

from functools import cache
from typing import Any

import numpy as np
import torch

import promptscope as ps
from promptscope.prompts import Prompt
from promptscope.tasks import Encoded
from tests.probe_inputs import encoded
from tests.tiny_models import hooked, tiny_hf_model

K = 4
Inside = dict[str, list[np.ndarray]]
SITES = {
    "pre": "mlp.hook_pre",
    "post": "mlp.hook_post",
    "z": "attn.hook_z",
    "v": "attn.hook_v",
    "pattern": "attn.hook_pattern",
    "residual": "hook_resid_post",
}


@cache
def prompt(kind: str, family: str) -> Prompt:
    """Prompts large enough to move a tiny random model."""
    init = ps.init.Uniform(-2.0, 2.0)
    made = ps.SoftPrompt(K, init=init) if kind == "v1" else ps.DeepPrompt(K, tied=kind == "v2 tied", init=init)
    return made.bind(hooked(family))


def inputs(family: str, **options: Any) -> list[Encoded]:
    """Ragged inputs `<s> x </s>`; a masked model's label is predicted at the last token."""
    examples = encoded(family=family, **options)
    if family == "bert":
        examples = [Encoded(**(vars(e) | {"label_start": len(e.input_ids) - 1})) for e in examples]
    return examples


def inside(family: str, example: Encoded, made: Prompt | None = None, offset: int = 0) -> Inside:
    """A bare model's, with the vectors of an input-level prompt in front; the hooked model's under a deep prompt."""
    if isinstance(made, ps.DeepPrompt):
        return hooked_inside(family, example, made)
    return bare_inside(family, example, made.vectors() if isinstance(made, ps.SoftPrompt) else None, offset)


def hooked_inside(family: str, example: Encoded, made: Prompt) -> Inside:
    model, found = hooked(family), {}
    names = {key: model.site(site) for key, site in SITES.items()}
    hooks = [
        (name, lambda x, hook, name=name: found.__setitem__(name, x[0].numpy()))
        for every in names.values()
        for name in every
    ]
    decoder = torch.tensor([example.decoder_input_ids]) if example.decoder_input_ids else None
    with torch.no_grad():
        model.forward_hooked(torch.tensor([example.input_ids]), prompt=made, hooks=hooks, decoder_input_ids=decoder)
    return {key: [found[name] for name in every] for key, every in names.items()}


@cache
def eager(family: str):
    model = tiny_hf_model(family)
    model.set_attn_implementation("eager")
    return model.requires_grad_(False)


def modules(family: str, model: Any) -> dict[str, list[tuple[Any, str]]]:
    """For each quantity the module of every layer that has it as its input or output."""
    if family == "gpt2":
        blocks = model.transformer.h
        return {
            "pre": [(b.mlp.c_fc, "out") for b in blocks],
            "post": [(b.mlp.c_proj, "in") for b in blocks],
            "z": [(b.attn.c_proj, "in") for b in blocks],
            "v": [(b.attn.c_attn, "out") for b in blocks],
        }
    if family == "llama":
        blocks = model.model.layers
        return {
            "pre": [(b.mlp.gate_proj, "out") for b in blocks],
            "post": [(b.mlp.down_proj, "in") for b in blocks],
            "z": [(b.self_attn.o_proj, "in") for b in blocks],
            "v": [(b.self_attn.v_proj, "out") for b in blocks],
        }
    if family == "bert":
        blocks = model.bert.encoder.layer
        return {
            "pre": [(b.intermediate.dense, "out") for b in blocks],
            "post": [(b.output.dense, "in") for b in blocks],
            "z": [(b.attention.output.dense, "in") for b in blocks],
            "v": [(b.attention.self.value, "out") for b in blocks],
        }
    blocks = model.encoder.block
    return {
        "pre": [(b.layer[1].DenseReluDense.wi, "out") for b in blocks],
        "post": [(b.layer[1].DenseReluDense.wo, "in") for b in blocks],
        "z": [(b.layer[0].SelfAttention.o, "in") for b in blocks],
        "v": [(b.layer[0].SelfAttention.v, "out") for b in blocks],
    }


def bare_inside(family: str, example: Encoded, vectors: Any = None, offset: int = 0) -> Inside:
    model = eager(family)
    embeds = model.get_input_embeddings()(torch.tensor([example.input_ids]))
    if vectors is not None:
        embeds = torch.cat([vectors[None].detach(), embeds], dim=1)
    found: dict[tuple[str, int], torch.Tensor] = {}
    handles = []
    for key, places in modules(family, model).items():
        for layer, (module, side) in enumerate(places):

            def keep(module, given, out, key=key, layer=layer, side=side):
                found[key, layer] = (out if side == "out" else given[0])[0].detach().clone()

            handles.append(module.register_forward_hook(keep))
    options = {"inputs_embeds": embeds, "attention_mask": torch.ones(embeds.shape[:2], dtype=torch.long)}
    options |= {"output_attentions": True, "output_hidden_states": True}
    with torch.no_grad():
        if family == "t5":
            out = model.encoder(**options)
        else:
            out = model(**options, position_ids=torch.arange(embeds.shape[1])[None] + offset)
    for handle in handles:
        handle.remove()
    layers = range(len(out.attentions))
    width = found["z", 0].shape[-1]
    heads, dh = out.attentions[0].shape[1], width // out.attentions[0].shape[1]
    values = [found["v", i][:, -width:] if family == "gpt2" else found["v", i] for i in layers]
    result = {
        "pre": [found["pre", i] for i in layers],
        "post": [found["post", i] for i in layers],
        "z": [found["z", i].unflatten(-1, (heads, dh)) for i in layers],
        "v": [v.unflatten(-1, (v.shape[-1] // dh, dh)) for v in values],
        "pattern": [out.attentions[i][0] for i in layers],
        "residual": [out.hidden_states[i + 1][0] for i in layers],  # the last one is after the final norm in some
    }
    return {key: [x.numpy() for x in every] for key, every in result.items()}
