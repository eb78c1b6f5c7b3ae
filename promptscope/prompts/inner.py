"""The keys and values that k input vectors have inside a model."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.models import Hook, HookedModel
from promptscope.models.caching import keep


@torch.no_grad()
def keys_and_values(
    model: HookedModel, vectors: Float[Tensor, "k d_embed"], part: str
) -> tuple[Float[Tensor, "L k d_kv"], Float[Tensor, "L k d_kv"]]:
    """Run *vectors* through the model without a text and return every layer's keys (before rotary) and values.

    On causal models, a deep prompt with these keys and values acts exactly as the input-level prompt of *vectors*. On
    bidirectional models it does not, since there prompt positions also attend to the text.
    """
    attention = model.family.attentions[part]
    roles = [
        [f"{attention.stack}.{i}.{attention.module}.hook_{role}" for i in range(model.layers[attention.stack])]
        for role in "kv"
    ]
    kept: dict[str, Tensor] = {}
    hooks: list[Hook] = [(name, partial(keep, kept, name)) for names in roles for name in names]
    hooks.append((model.family.embedding, partial(_write, vectors * model.facts.hook_scale)))
    placeholders, decoder_ids = torch.zeros(1, len(vectors), dtype=torch.long, device=model.device), None
    if model.family.kind == "seq2seq":
        decoder_ids = placeholders
        hooks.append(("decoder_blocks.0.hook_resid_pre", partial(_write, vectors)))  # its embedding has no hook point
    model.forward_hooked(placeholders, hooks=hooks, decoder_input_ids=decoder_ids)
    keys, values = (torch.stack([kept[name][0].flatten(-2) for name in names]) for names in roles)
    return keys, values


def _write(vectors: Float[Tensor, "k d"], x: Float[Tensor, "1 k d"], hook: object) -> Tensor:
    return vectors.to(x)[None]
