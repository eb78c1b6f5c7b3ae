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
    """Return *prompt* with zero vectors in place of *tokens*, at the same positions.

    An input-level token becomes the embedding 0, to which a model may still add its position. A deep token becomes
    the key 0 and the value 0 in every layer: it still draws attention (its score is 0), and adds nothing. The masking
    of the *token splitting* paper (S2), section 3.1.

    Raises:
        PromptError: no such token, or an unbound prompt.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> zero(ps.SoftPrompt(4).bind(model), [1]).place(model).vectors.norm(dim=1).count_nonzero().item()
    3
    """
    return EditedPrompt.of(prompt, "zero", _gone(prompt, tokens))


@checked()
def mean(prompt: Prompt, tokens: int | Sequence[int]) -> EditedPrompt:
    """Return *prompt* with its mean token in place of *tokens*, at the same positions.

    `m = 1/k sum_i p_i` over all k tokens of the whole prompt, those that are replaced included, so that m is the same
    whatever is replaced. Deep prompts: in each layer, for keys (before the rotary embedding) and values. The change
    of the loss is what a token adds to what all tokens have in common; a zero vector is unlike any token.

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
    """Return *prompt* without *tokens*: shorter, and all that comes after it moves to the front.

    Raises as `zero` does, and for the removal of all tokens.

    >>> import promptscope as ps
    >>> remove(ps.SoftPrompt(4).bind(ps.load_model("embedded-causal")), [1, 2]).length
    2
    """
    gone = _gone(prompt, tokens)
    if len(gone) == prompt.length:
        raise PromptError("a prompt without tokens is no prompt: run the model with prompt=None instead")
    return EditedPrompt.of(prompt, "remove", gone)


@checked()
def cut(prompt: Prompt, tokens: int | Sequence[int]) -> EditedPrompt:
    """Return *prompt* with *tokens* cut from attention: in every layer, no query sees their keys.

    Neither text nor the other prompt tokens attend to a cut token, so it has no influence on anything; all positions
    stay as they are. This is `remove` without renumbering. The attention weights of the others add up to one again.

    Raises as `zero` does.

    >>> import promptscope as ps
    >>> model = ps.load_model("embedded-causal")
    >>> cut(ps.SoftPrompt(4).bind(model), [1]).place(model).hidden
    (1,)
    """
    return EditedPrompt.of(prompt, "cut", _gone(prompt, tokens))


@checked()
def mix(prompt: Prompt, other: Prompt, tokens: int | Sequence[int]) -> EditedPrompt:
    """Return *prompt* with *tokens* replaced by those that *other* has in their places.

    `p_i -> q_i` for i in *tokens*; all positions stay as they are. Deep prompts: in every layer, keys and values.
    Where each token serves one model, a mixture of two prompts should serve the models of both (prompt mixing, the
    future work of *token splitting* (S2), section 6.2); with it belongs a mixture of as many tokens drawn at random.

    The mixture belongs to the models of neither alone: `bind(model, strict=False)` is what it gets.

    Raises as `zero` does, and for prompts of different kinds or shapes.

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
            f"only prompts of one kind, length and width can be mixed, not {prompt!r} {shapes[0]} and {other!r} "
            f"{shapes[1]}"
        )
    return EditedPrompt.of(prompt, "mix", taken, other)


def _gone(prompt: Prompt, tokens: int | Sequence[int]) -> list[int]:
    return np.flatnonzero(~kept_tokens(prompt, tokens)).tolist()
