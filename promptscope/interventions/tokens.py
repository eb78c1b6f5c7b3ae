"""Which tokens of a prompt an intervention keeps."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from promptscope.errors import PromptError
from promptscope.prompts import Prompt


def kept_tokens(prompt: Prompt, tokens: int | Sequence[int]) -> Bool[np.ndarray, "k"]:
    """Return a mask (k,): False for *tokens*, which count from 0, True for all others of a bound *prompt*.

    Raises:
        PromptError: a token that the prompt does not have, or an unbound prompt.
    """
    if not isinstance(prompt, Prompt):
        raise PromptError(f"expected a prompt whose tokens can be changed, such as a ps.SoftPrompt, got {prompt!r}")
    if not prompt.is_bound:
        raise PromptError(
            "the prompt is unbound and has no vectors to change: call prompt.bind(model), load or train it first"
        )
    chosen = [tokens] if isinstance(tokens, int) else list(tokens)
    wrong = [token for token in chosen if not 0 <= token < prompt.length]
    if wrong:
        raise PromptError(f"tokens must be in 0..{prompt.length - 1}, got {wrong}")
    kept = np.ones(prompt.length, dtype=bool)
    kept[chosen] = False
    return kept


def without_each(k: int) -> Bool[np.ndarray, "k1 k"]:
    """Return masks of the whole prompt (first row), and of the prompt without each of its *k* tokens in turn.

    >>> without_each(2).astype(int).tolist()
    [[1, 1], [0, 1], [1, 0]]
    """
    return np.concatenate([np.ones((1, k), dtype=bool), ~np.eye(k, dtype=bool)])
