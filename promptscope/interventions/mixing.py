"""Prompts with some of their tokens taken from another prompt."""

from collections.abc import Sequence

import numpy as np
import torch

from promptscope.checks import checked
from promptscope.errors import PromptError
from promptscope.interventions.tokens import kept_tokens
from promptscope.prompts import DeepPrompt, Prompt
from promptscope.statistics import mix_tokens


@checked()
def mix(prompt: Prompt, other: Prompt, tokens: int | Sequence[int]) -> Prompt:
    """Return *prompt* with *tokens* replaced by those that *other* has in their places.

    `p_i -> q_i` for i in *tokens*; all positions stay as they are. Deep prompts: in every layer, keys and values.
    Where each token serves one model, a mixture of two prompts should serve the models of both (prompt mixing, the
    future work of *token splitting* (S2), section 6.2); beside it belongs a mixture of as many tokens drawn at random.

    The mixture belongs to the models of neither alone: `bind(model, strict=False)` is what it gets.

    Raises:
        PromptError: no such token, an unbound prompt, one of another kind, or prompts of different shapes.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-masked-0")
    >>> a, b = (ps.SoftPrompt(4, seed=seed).bind(model) for seed in (0, 1))
    >>> (mix(a, b, [1, 2]).vectors() == b.vectors()).all(dim=1).tolist()
    [False, True, True, False]
    """
    taken, _ = ~kept_tokens(prompt, tokens), kept_tokens(other, [])
    shapes = [{name: tuple(number.shape) for name, number in one.tensors().items()} for one in (prompt, other)]
    same = type(prompt) is type(other) and shapes[0] == shapes[1] and _layers(prompt) == _layers(other)
    if not same or _after_rotary(prompt) != _after_rotary(other):
        raise PromptError(
            f"only prompts of one kind, length and width can be mixed, not {prompt!r} {shapes[0]} and {other!r} "
            f"{shapes[1]}"
        )
    mixed, theirs = prompt.plain(), other.tensors()
    with torch.no_grad():
        for name, number in mixed.named_parameters():
            mine, others = number.cpu().numpy(), theirs[name].detach().cpu().numpy()
            flat = zip(mine.reshape(-1, *mine.shape[-2:]), others.reshape(-1, *others.shape[-2:]), strict=True)
            new = np.stack([mix_tokens(a, b, taken) for a, b in flat]).reshape(mine.shape)
            number.copy_(torch.from_numpy(new))
    mixed.strict = False
    same_model = ("model", "revision", "family", "embedding_hash", "weights_hash")
    mixed.provenance = {name: prompt.provenance[name] for name in same_model if name in prompt.provenance}
    hashes = [prompt.content_hash(), other.content_hash()]
    mixed.provenance |= {"mix": np.flatnonzero(taken).tolist(), "prompts": hashes}
    return mixed


def _layers(prompt: Prompt) -> object:
    return prompt.layers if isinstance(prompt, DeepPrompt) else None


def _after_rotary(prompt: Prompt) -> bool:
    return isinstance(prompt, DeepPrompt) and prompt.keys_after_rotary
