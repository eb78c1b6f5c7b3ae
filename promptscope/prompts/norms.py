"""How long a prompt's vectors are."""

import pandas as pd
import torch

from promptscope.checks import checked
from promptscope.prompts.deep import DeepPrompt
from promptscope.prompts.prompt import Prompt


@checked()
def prompt_norms(prompt: Prompt) -> pd.DataFrame:
    """Return the L2 norm of every vector of a bound prompt: columns `part`, `role`, `layer`, `position`, `norm`.

    An input-level prompt has the role `embedding` and no layer (-1); a deep prompt `keys` and `values`, or `both`
    where they are tied. Without chosen layers, they count from 0.

    Raises:
        PromptError: a kind of prompt that does not say what it makes of its parameters (one that was edited).

    >>> import promptscope as ps
    >>> prompt = ps.SoftPrompt(length=4).bind(ps.load_model("embedded-causal"))
    >>> prompt_norms(prompt).shape
    (4, 5)
    """
    rows = []
    for name, parameter in prompt.stated_tensors().items():
        norms = parameter.detach().float().norm(dim=-1)  # (k,) or (layer, k)
        if isinstance(prompt, DeepPrompt):
            part, _, role = name.removeprefix("numbers.").rpartition("_")
            layers = prompt.layers or range(len(norms))
        else:
            part, role, layers, norms = "input", "embedding", (-1,), norms[None]
        rows += [
            (part, role, layer, position, norm)
            for layer, row in zip(layers, torch.atleast_2d(norms).tolist(), strict=True)
            for position, norm in enumerate(row)
        ]
    return pd.DataFrame(rows, columns=["part", "role", "layer", "position", "norm"])
