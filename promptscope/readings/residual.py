"""The residual stream at a prompt's positions, and writing vectors over a residual stream."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.models import Hook, HookedModel
from promptscope.prompts import SoftPrompt

Entry = Literal["embeddings", "first_layer"]


def need_causal(model: HookedModel, what: str) -> None:
    """Raise ProbeError unless *model* is causal; otherwise the residual stream of a prompt depends on the text."""
    if model.family.kind != "causal":
        raise ProbeError(
            f"{what} needs a causal model, and {model.name!r} is a {model.family.kind} model, in "
            "which prompt positions attend to the text. read_nearest_tokens works with every family"
        )


def residual_point(layer: int) -> str:
    """Return the hook point of the residual stream after *layer*; -1 = what enters the first layer."""
    return f"blocks.{layer}.hook_resid_post" if layer >= 0 else "blocks.0.hook_resid_pre"


def check_layers(model: HookedModel, layers: list[int], last: int, what: str) -> None:
    """Raise ProbeError for a layer outside -1..*last*."""
    wrong = [layer for layer in layers if not -1 <= layer <= last]
    if wrong or not layers:
        raise ProbeError(
            f"{what} must be in -1..{last} for {model.name!r} with {model.shape.n_layers} layers (-1 "
            f"= what enters layer 0), got {wrong or 'none'}"
        )


@checked()
@torch.no_grad()
def prompt_residual(model: HookedModel, prompt: SoftPrompt, entry: Entry = "embeddings") -> Float[Tensor, "layer k d"]:
    """Return the residual stream at a prompt's positions, before the first layer and after each layer.

    Its shape is (L + 1, k, d_model) for L layers and k positions. No text is needed: in a causal model a prompt
    position attends to the prompt only. What enters the first layer includes learned position embeddings, where the
    model adds them. `entry="first_layer"` writes the prompt over the output of layer 0 instead of the embeddings, as
    the code of InSPEcT does for prompts that were trained as embeddings; the first entry is then not used.

    Raises:
        ProbeError: the model is not causal.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> prompt_residual(model, ps.SoftPrompt(2).bind(model)).shape == (7, 2, model.shape.d_model)
    True
    """
    need_causal(model, "the residual stream of a prompt alone")
    kept: dict[int, Tensor] = {}

    def keep(layer: int) -> Hook:
        def read(x: Float[Tensor, "B T d"], hook: object) -> None:
            kept[layer] = x[0, : prompt.length].clone()

        return residual_point(layer), read

    layers = range(-1, model.shape.n_layers)
    moved = [patch(prompt.bind(model).vectors()[None], 0, 0)] if entry == "first_layer" else []
    one_token = torch.zeros(1, 1, dtype=torch.long)
    model.forward_hooked(one_token, prompt=prompt, hooks=[*moved, *map(keep, layers)])
    return torch.stack([kept[layer] for layer in layers])


@checked(layer=-1, start=0)
def patch(vectors: Float[Tensor, "B k d"], layer: int, start: int, rows: Tensor | None = None) -> Hook:
    """Return the hook that writes *vectors* over positions start, start + 1, ... of the residual stream after *layer*.

    *vectors* is (B, k, d_model), or (1, k, d_model) for the same vectors in all rows. *rows* are the rows of the batch
    to write to, one for each of the B; by default all. Later decoding steps, which read keys and values from a cache,
    are not changed: the cache holds what was written.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> point, function = patch(torch.zeros(1, 1, model.shape.d_model), layer=2, start=0)
    >>> with model.hooks([(point, function)]):
    ...     logits = model.logits(torch.tensor([[5, 6, 7]]))
    >>> point
    'blocks.2.hook_resid_post'
    """
    k = vectors.shape[1]

    def write(x: Float[Tensor, "B T d"], hook: object) -> Tensor | None:
        if x.shape[1] < start + k:
            return None
        x = x.clone()
        x[slice(None) if rows is None else rows, start : start + k] = vectors.to(x)
        return x

    return residual_point(layer), write
