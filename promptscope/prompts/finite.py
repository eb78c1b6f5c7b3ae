"""Detection of prompts with NaN or infinite numbers."""

import torch

from promptscope.errors import PromptError
from promptscope.models import Placement
from promptscope.prompts.prompt import Prompt


def check_finite_prompt(prompt: Prompt | Placement) -> None:
    """Raise PromptError if numbers of *prompt* are NaN or infinite.

    >>> import promptscope as ps
    >>> check_finite_prompt(ps.SoftPrompt(2).bind(ps.load_model("embedded-causal")))
    """
    numbers = prompt.tensors() if isinstance(prompt, Placement) else dict(prompt.named_parameters())
    for name, parameter in numbers.items():
        if wrong := int((~torch.isfinite(parameter)).sum()):
            raise PromptError(
                f"{wrong} of {parameter.numel()} numbers in the prompt's {name!r} are NaN or infinite, so that every "
                "result with it would be: load or train the prompt again"
            )
