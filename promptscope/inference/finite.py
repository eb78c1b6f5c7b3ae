"""Logits that are no numbers decide nothing: an argmax over NaN is the first class."""

import math
from collections.abc import Sequence

from torch import Tensor

from promptscope.errors import ModelError
from promptscope.models import HookedModel, PromptLike
from promptscope.prompts import Prompt
from promptscope.prompts.finite import check_finite_prompt


def refuse_nan(model: HookedModel, logits: Tensor, prompts: Sequence[PromptLike | None] = ()) -> None:
    """Raise where *logits* hold NaN or infinity, from which an answer would be chosen; -inf is a token ruled out.

    Raises:
        PromptError: one of the *prompts* that they follow holds such numbers.
        ModelError: none does: the model's weights, a hook, or numbers too large for its type.

    >>> import torch
    >>> import promptscope as ps
    >>> refuse_nan(ps.load_model("embedded-causal"), torch.tensor([0.5, -torch.inf]))
    """
    if bool((logits.detach() < math.inf).all()):  # NaN is not below it either
        return
    for prompt in prompts:
        if isinstance(prompt, Prompt):
            check_finite_prompt(prompt)
    raise ModelError(
        f"{model.name!r} in {str(model.dtype).removeprefix('torch.')} gave logits that are NaN or infinite, from which "
        "no answer can be chosen: look at hooks and edited weights, and in half precision load it in another type "
        "(dtype='bfloat16' or 'float32')"
    )
