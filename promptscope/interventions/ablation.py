"""Prompts with some of their tokens zeroed, replaced by the mean token, or removed."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from promptscope.checks import checked
from promptscope.errors import PromptError
from promptscope.interventions.tokens import kept_tokens
from promptscope.models import HookedModel
from promptscope.prompts import DeepPrompt, Prompt, SoftPrompt
from promptscope.prompts.rotary import before_rotary
from promptscope.statistics import compress, mask_tokens

Change = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(k vectors, which are kept) -> the vectors of the changed prompt."""


@checked()
def zero(prompt: Prompt, tokens: int | Sequence[int]) -> Prompt:
    """Return *prompt* with zero vectors in place of *tokens*, at the same positions.

    An input-level token becomes the embedding 0, to which a model may still add its position. A deep token becomes
    the key 0 and the value 0 in every layer: it still draws attention (its score is 0), and adds nothing. The masking
    of the *token splitting* paper (S2), section 3.1.

    Raises:
        PromptError: no such token, an unbound prompt, or one of another kind.

    >>> import promptscope as ps
    >>> prompt = ps.SoftPrompt(4).bind(ps.load_model("embedded-causal"))
    >>> zero(prompt, [1]).vectors().norm(dim=1).count_nonzero().item()
    3
    """
    return _named(prompt, "zero", kept_tokens(prompt, tokens), None)


@checked()
def mean(prompt: Prompt, tokens: int | Sequence[int], model: HookedModel | None = None) -> Prompt:
    """Return *prompt* with its mean token in place of *tokens*, at the same positions.

    `m = 1/k sum_i p_i` over all k tokens of the whole prompt, those that are replaced included, so that m is the same
    whatever is replaced. Deep prompts: in each layer, for keys (before the rotary embedding) and values. Tells what a
    token adds to what all have in common; zero lies outside of where prompts live.

    *model* is needed for adapters that hold keys after the rotary embedding (of PEFT). Raises as `zero` does.

    >>> import promptscope as ps
    >>> prompt = ps.SoftPrompt(4).bind(ps.load_model("embedded-causal"))
    >>> bool(torch.allclose(mean(prompt, [1]).vectors()[1], prompt.vectors().mean(dim=0)))
    True
    """
    return _named(prompt, "mean", kept_tokens(prompt, tokens), model)


@checked()
def remove(prompt: Prompt, tokens: int | Sequence[int], model: HookedModel | None = None) -> Prompt:
    """Return *prompt* without *tokens*: shorter, and all that comes behind moves to the front.

    *model* is needed for adapters that hold keys after the rotary embedding (of PEFT). Raises as `zero` does, and for
    the removal of all tokens.

    >>> import promptscope as ps
    >>> remove(ps.SoftPrompt(4).bind(ps.load_model("embedded-causal")), [1, 2]).length
    2
    """
    kept = kept_tokens(prompt, tokens)
    if not kept.any():
        raise PromptError("a prompt without tokens is no prompt: run the model with prompt=None instead")
    return _named(prompt, "remove", kept, model)


def changed(prompt: Prompt, how: str, kept: Bool[np.ndarray, "k"], model: HookedModel | None = None) -> Prompt:
    """Return *prompt* with the tokens that are not *kept* changed; at least one is kept by `remove`."""
    change = _CHANGES[how]
    n = int(kept.sum()) if how == "remove" else prompt.length
    other: Prompt
    if isinstance(prompt, SoftPrompt):
        other = SoftPrompt(n)
        other.embedding = nn.Parameter(_apply(change, prompt.vectors(), kept))
    else:
        assert isinstance(prompt, DeepPrompt)
        other = DeepPrompt(n, prompt.tied, prompt.layers, prompt.parts)
        numbers = {name.removeprefix("numbers."): number for name, number in prompt.tensors().items()}
        if prompt.keys_after_rotary and how == "zero":
            other.keys_after_rotary = True  # zero is zero however it is turned
        elif prompt.keys_after_rotary:
            numbers = _before_rotary(numbers, model)
        for name, number in numbers.items():
            other.numbers[name] = nn.Parameter(_apply(change, number, kept))
    other.strict = prompt.strict
    same = ("model", "revision", "family", "embedding_hash", "weights_hash")
    other.provenance = {name: prompt.provenance[name] for name in same if name in prompt.provenance}
    return other


def _named(prompt: Prompt, how: str, kept: np.ndarray, model: HookedModel | None) -> Prompt:
    other = changed(prompt, how, kept, model)
    other.provenance |= {how: np.flatnonzero(~kept).tolist(), "prompt": prompt.content_hash()}
    return other


def _apply(change: Change, vectors: Tensor, kept: np.ndarray) -> Tensor:
    """Change `[k, d]`, or each layer of `[L, k, d]`."""
    numbers = vectors.detach().cpu().numpy()
    new = change(numbers, kept) if numbers.ndim == 2 else np.stack([change(layer, kept) for layer in numbers])
    return torch.from_numpy(new).to(vectors.device)


def _mean(vectors: np.ndarray, kept: np.ndarray) -> np.ndarray:
    return np.where(kept[:, None], vectors, vectors.mean(axis=0))


_CHANGES: dict[str, Change] = {"zero": mask_tokens, "mean": _mean, "remove": compress}


def _before_rotary(numbers: dict[str, Tensor], model: HookedModel | None) -> dict[str, Tensor]:
    if model is None:
        raise PromptError(
            "this prompt holds keys after the rotary embedding, as PEFT saves them: pass model=..., which can turn "
            "them back to before their positions"
        )
    heads: Any = (model.shape.n_kv_heads, model.shape.d_head)
    turned = dict(numbers)
    for name in [name for name in numbers if name.endswith("_keys")]:
        keys = numbers[name].detach().unflatten(-1, heads).transpose(1, 2)  # (L, kv_head, k, d_head)
        turned[name] = before_rotary(keys, model).transpose(1, 2).flatten(-2)
    return turned
