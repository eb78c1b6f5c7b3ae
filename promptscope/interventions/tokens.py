"""Which tokens of a prompt an intervention leaves alone."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from promptscope.errors import PromptError
from promptscope.prompts import Prompt


def kept_tokens(prompt: Prompt, tokens: int | Sequence[int]) -> Bool[np.ndarray, "k"]:
    """Return True for every token of a bound *prompt* but *tokens*, which count from 0.

    Raises:
        PromptError: no such token, or a prompt without numbers.
    """
    if not isinstance(prompt, Prompt):
        raise PromptError(f"interventions change the tokens of a prompt, such as ps.SoftPrompt(20), not of {prompt!r}")
    if not prompt.is_bound:
        raise PromptError("an unbound prompt has no tokens to change: call prompt.bind(model), load or train it first")
    chosen = [tokens] if isinstance(tokens, int) else list(tokens)
    wrong = [token for token in chosen if not 0 <= token < prompt.length]
    if wrong:
        raise PromptError(f"the prompt has the tokens 0..{prompt.length - 1}, got {wrong}")
    kept = np.ones(prompt.length, dtype=bool)
    kept[chosen] = False
    return kept


def without_each(k: int) -> Bool[np.ndarray, "k1 k"]:
    """Return the whole prompt, then the prompt without each of its *k* tokens in turn.

    >>> without_each(2).astype(int).tolist()
    [[1, 1], [0, 1], [1, 0]]
    """
    return np.concatenate([np.ones((1, k), dtype=bool), ~np.eye(k, dtype=bool)])
