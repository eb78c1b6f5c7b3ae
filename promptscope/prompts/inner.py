"""The keys and values that k input vectors have inside a model."""

import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.models import Hook, HookedModel


@torch.no_grad()
def keys_and_values(
    model: HookedModel, vectors: Float[Tensor, "k d_embed"], part: str
) -> tuple[Float[Tensor, "L k d_kv"], Float[Tensor, "L k d_kv"]]:
    """Run *vectors* through the model without a text and return every layer's keys (before rotary) and values.

    On causal models, a deep prompt with these keys and values acts exactly as the input-level prompt of *vectors*. On
    bidirectional models it does not, since there prompt positions also attend to the text.
    """
    k = len(vectors)
    attention = model.family.attentions[part]
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Hook:
        def hook_function(x: Tensor, hook: object) -> None:
            kept[name] = x[0].flatten(-2)

        return name, hook_function

    def write(x: Float[Tensor, "1 k d"], hook: object) -> Tensor:
        return vectors.to(x)[None]

    def embed(x: Float[Tensor, "1 k d_embed"], hook: object) -> Tensor:
        return vectors.to(x)[None] * model.facts.hook_scale

    names = {
        role: [f"{attention.stack}.{i}.{attention.module}.hook_{role}" for i in range(model.layers[attention.stack])]
        for role in ("k", "v")
    }
    hooks: list[Hook] = [(model.family.embedding, embed)]
    placeholders = torch.zeros(1, k, dtype=torch.long, device=model.device)
    decoder_ids = None
    if model.family.kind == "seq2seq":
        decoder_ids = placeholders
        hooks.append(("decoder_blocks.0.hook_resid_pre", write))  # the decoder's embedding has no hook point
    hooks += [keep(name) for role in names for name in names[role]]
    model.forward_hooked(placeholders, hooks=hooks, decoder_input_ids=decoder_ids)
    return (
        torch.stack([kept[name] for name in names["k"]]),
        torch.stack([kept[name] for name in names["v"]]),
    )
