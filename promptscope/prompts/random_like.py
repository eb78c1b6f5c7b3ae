"""Random prompts with the norms of a trained prompt, as its null."""

from typing import TypeVar

import torch

from promptscope.checks import checked
from promptscope.errors import PromptError
from promptscope.prompts.binding import made_for
from promptscope.prompts.edited import EditedPrompt
from promptscope.prompts.finite import check_finite_prompt
from promptscope.prompts.prompt import Prompt

P = TypeVar("P", bound=Prompt)


@checked(seed=0)
def random_like(prompt: P, seed: int = 0) -> P:
    """Return a plain prompt of the same type and length with the same norms and random directions.

    Each vector v (along the last dimension: one for each position, and in deep prompts also each layer, keys and
    values) is replaced by `|v| g / |g|`, where g is standard normal and `|.|` is the L2 norm. It is a null for scores
    and probes: a result about a trained prompt is a finding only if it differs from the result for such random prompts.
    For an edited prompt, its tokens are made random and then edited in the same way.

    Raises:
        PromptError: the prompt has no parameters yet, or some are NaN or infinite.

    >>> import promptscope as ps
    >>> prompt = ps.SoftPrompt(length=4).bind(ps.load_model("embedded-causal"))
    >>> other = random_like(prompt, seed=1)
    >>> torch.allclose(other.vectors().norm(dim=1), prompt.vectors().norm(dim=1))
    True
    """
    if not prompt.is_bound:
        raise PromptError("an unbound prompt has no norms to copy: call prompt.bind(model), load or train it first")
    check_finite_prompt(prompt)
    for part in prompt.parts.values() if isinstance(prompt, EditedPrompt) else (prompt,):
        part.stated_tensors()
    generator = torch.Generator().manual_seed(seed)
    other = prompt.plain()
    with torch.no_grad():
        for parameter in other.parameters():
            # Drawn on the CPU, in a fixed type: the same numbers whatever the device.
            direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float32).to(parameter)
            norms = parameter.norm(dim=-1, keepdim=True)
            parameter.copy_(direction / direction.norm(dim=-1, keepdim=True) * norms)
    other.provenance = made_for(prompt) | {"seed": seed, "random_like": prompt.content_hash()}
    return other
