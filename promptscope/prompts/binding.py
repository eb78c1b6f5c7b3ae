"""Binding a prompt to a model: its parameters are created for the model, or checked against it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from promptscope.errors import PromptError
from promptscope.models import HookedModel

if TYPE_CHECKING:
    from promptscope.prompts.prompt import Prompt


def bind(prompt: Prompt, model: HookedModel, strict: bool) -> None:
    """Implement `Prompt.bind`; the arguments are the same."""
    if any(parameter.is_meta for parameter in prompt.parameters()):
        raise PromptError("the prompt is on the device 'meta', where its tensors have no values: make or load it again")
    model.rules.check_context(1, prompt.length)
    if prompt.is_bound:
        _check(prompt, model, strict)
    else:
        prompt._create(model, torch.Generator().manual_seed(prompt.seed))
        prompt.provenance |= {"seed": prompt.seed, "init": str(prompt.init)} | _facts(model)
        prompt.to(device=model.device, dtype=torch.promote_types(model.dtype, torch.float32))
    if next(prompt.parameters()).device != model.device:
        prompt.to(model.device)


def made_for(prompt: Prompt) -> dict[str, Any]:
    """Return the part of the provenance that names the model."""
    names = ("model", "revision", "family", "embedding_hash", "weights_hash")
    return {name: prompt.provenance[name] for name in names if name in prompt.provenance}


def _check(prompt: Prompt, model: HookedModel, strict: bool) -> None:
    made = prompt.provenance.get("embedding_hash")
    is_other = made not in (None, model.embedding_hash)
    if is_other and strict:
        raise PromptError(
            f"this prompt was made for the model {prompt.provenance.get('model')!r} with embedding hash {made}, not "
            f"for {model.name!r} with embedding hash {model.embedding_hash} ({model.dtype}). Load that model, or pass "
            "strict=False to use it here"
        )
    prompt._check_fit(model)
    if is_other:
        prompt.strict = False  # decided once; the next forward pass must not ask again
    elif made is None:  # an imported adapter does not say which embeddings it saw
        prompt.provenance |= _facts(model)


def _facts(model: HookedModel) -> dict[str, Any]:
    return {
        "model": model.name,
        "revision": model.revision,
        "family": model.family.name,
        "embedding_hash": model.embedding_hash,
        "weights_hash": model.weights_hash,
    }
