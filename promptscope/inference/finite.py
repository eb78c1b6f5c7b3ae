"""Detection of logits that are NaN or infinite, from which an argmax would silently take the first class."""

import math
from collections.abc import Sequence

from torch import Tensor

from promptscope.errors import ModelError
from promptscope.models import HookedModel, Placement, PromptLike
from promptscope.prompts import Prompt
from promptscope.prompts.finite import check_finite_prompt


def refuse_nan(model: HookedModel, logits: Tensor, prompts: Sequence[PromptLike | None] = ()) -> None:
    """Raise an error if *logits* hold NaN or +infinity; -infinity is allowed, as it excludes a token.

    Raises:
        PromptError: one of the *prompts* with which they were computed holds NaN or infinity.
        ModelError: no prompt does, so that the cause is a weight, a hook, or the range of the model's dtype.

    >>> import torch
    >>> import promptscope as ps
    >>> refuse_nan(ps.load_model("embedded-causal"), torch.tensor([0.5, -torch.inf]))
    """
    if bool((logits.detach() < math.inf).all()):  # NaN is not below it either
        return
    for prompt in prompts:
        if isinstance(prompt, Prompt | Placement):
            check_finite_prompt(prompt)
    raise ModelError(
        f"{model.name!r} in {str(model.dtype).removeprefix('torch.')} gave logits that are NaN or infinite, so that no "
        "answer can be chosen: check hooks and edited weights; in half precision, load the model in another type "
        "(dtype='bfloat16' or 'float32')"
    )
