"""Prompts with some of their tokens zeroed, averaged, removed, cut from attention, or taken from another prompt."""

from collections.abc import Sequence

import numpy as np

from promptscope.checks import checked
from promptscope.errors import PromptError
from promptscope.interventions.tokens import kept_tokens
from promptscope.prompts import Prompt
from promptscope.prompts.edited import EditedPrompt


@checked()
def zero(prompt: Prompt, tokens: int | Sequence[int]) -> EditedPrompt:
    """Return *prompt* with zero vectors in place of *tokens*; all positions stay as they are.

    An input-level token becomes the embedding 0, to which a model may still add its position embedding. A token of a
    deep prompt becomes the key 0 and the value 0 in every layer: its attention score is 0, so it still receives
    attention, and it adds nothing. This is the masking of Reimann & Sadrieh 2024, section 3.1.

    Args:
        prompt: a bound prompt.
        tokens: one token or several, counted from 0.

    Raises:
        PromptError: a token that the prompt does not have, or an unbound prompt.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> zero(ps.SoftPrompt(4).bind(model), [1]).place(model).vectors.norm(dim=1).count_nonzero().item()
    3
    """
    return EditedPrompt.of(prompt, "zero", _gone(prompt, tokens))


@checked()
def mean(prompt: Prompt, tokens: int | Sequence[int]) -> EditedPrompt:
    """Return *prompt* with the mean of its tokens in place of *tokens*; all positions stay as they are.

    The mean `m = 1/k sum_i p_i` is over all k tokens, those that are replaced included, so that m does not depend on
    *tokens*. Of deep prompts it is taken in each layer, of keys (before the rotary embedding) and of values. Compared
    with `zero`, the replacement is similar to the prompt's own vectors; the change of the loss is what a token adds to
    what all tokens have in common.

    Raises as `zero` does.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> prompt = ps.SoftPrompt(4).bind(model)
    >>> (mean(prompt, [1]).place(model).vectors[1] - prompt.vectors().mean(dim=0)).norm().item() < 1e-6
    True
    """
    return EditedPrompt.of(prompt, "mean", _gone(prompt, tokens))


@checked()
def remove(prompt: Prompt, tokens: int | Sequence[int]) -> EditedPrompt:
    """Return *prompt* without *tokens*: it is shorter, and the positions of all that follows decrease.

    Raises as `zero` does, and if no token is left.

    >>> import promptscope as ps
    >>> remove(ps.SoftPrompt(4).bind(ps.load_model("embedded-causal")), [1, 2]).length
    2
    """
    gone = _gone(prompt, tokens)
    if len(gone) == prompt.length:
        raise PromptError(
            "all tokens would be removed, and a prompt needs at least one: run the model with prompt=None instead"
        )
    return EditedPrompt.of(prompt, "remove", gone)


@checked()
def cut(prompt: Prompt, tokens: int | Sequence[int]) -> EditedPrompt:
    """Return *prompt* with *tokens* cut from attention: in every layer, no query attends to their keys.

    Neither text nor other prompt tokens attend to a cut token, so it has no influence; their attention weights to all
    other keys are renormalised to sum to 1. All positions stay as they are, unlike with `remove`.

    Raises as `zero` does.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> cut(ps.SoftPrompt(4).bind(model), [1]).place(model).hidden
    (1,)
    """
    return EditedPrompt.of(prompt, "cut", _gone(prompt, tokens))


@checked()
def mix(prompt: Prompt, other: Prompt, tokens: int | Sequence[int]) -> EditedPrompt:
    """Return *prompt* with *tokens* replaced by the tokens of *other* at the same positions.

    `p_i -> q_i` for i in *tokens*, where q are the vectors of *other*; for deep prompts in every layer, keys and
    values. If each token serves one model, a mixture of two prompts should serve the models of both: "prompt mixing",
    proposed in Reimann & Sadrieh 2024, section 6.2. Compare it with a mixture of as many tokens drawn at random.

    Bind the mixture with `bind(model, strict=False)`: it was made for the models of both prompts.

    Raises as `zero` does, and PromptError for prompts of different kinds or shapes.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-masked-0")
    >>> a, b = (ps.SoftPrompt(4, seed=seed).bind(model) for seed in (0, 1))
    >>> (mix(a, b, [1, 2]).place(model).vectors == b.vectors()).all(dim=1).tolist()
    [False, True, True, False]
    """
    taken, _ = _gone(prompt, tokens), kept_tokens(other, [])
    shapes = [{name: tuple(number.shape) for name, number in one.tensors().items()} for one in (prompt, other)]
    layers = [getattr(one, "layers", None) for one in (prompt, other)]
    if type(prompt) is not type(other) or shapes[0] != shapes[1] or layers[0] != layers[1]:
        raise PromptError(
            f"mix needs two prompts of the same kind, length and width, got {prompt!r} {shapes[0]} "
            f"and {other!r} {shapes[1]}"
        )
    return EditedPrompt.of(prompt, "mix", taken, other)


def _gone(prompt: Prompt, tokens: int | Sequence[int]) -> list[int]:
    return np.flatnonzero(~kept_tokens(prompt, tokens)).tolist()
