"""A prompt that holds NaN, as a file from elsewhere may, or one whose training went wrong."""

import torch

from promptscope.errors import PromptError
from promptscope.prompts.prompt import Prompt


def check_finite_prompt(prompt: Prompt) -> None:
    """Raise PromptError where numbers of *prompt* are NaN or infinite.

    >>> import promptscope as ps
    >>> check_finite_prompt(ps.SoftPrompt(2).bind(ps.load_model("embedded-causal")))
    """
    for name, parameter in prompt.named_parameters():
        if wrong := int((~torch.isfinite(parameter)).sum()):
            raise PromptError(
                f"{wrong} of {parameter.numel()} numbers in the prompt's {name!r} are NaN or infinite, and so is what "
                "a model answers after it: load or train the prompt again"
            )
