"""Norms of a prompt's vectors."""

import pandas as pd
import torch

from promptscope.checks import checked
from promptscope.prompts.deep import DeepPrompt
from promptscope.prompts.prompt import Prompt


@checked()
def prompt_norms(prompt: Prompt) -> pd.DataFrame:
    """Return a table with the L2 norm of every vector of a bound prompt.

    Columns: `part` (the attention, empty for an input-level prompt), `role`, `layer`, `position` and `norm`. The role
    is `embedding` for an input-level prompt, with layer -1; `keys` and `values`, or `both` if they are tied, for a deep
    prompt. A norm is that of the whole vector over all heads (d_model or d_kv numbers), in units of the model's
    activations.

    Raises:
        PromptError: the prompt's class does not define `tensors()`, which returns its vectors (edited prompts).

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
