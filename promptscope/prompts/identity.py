"""The identity of a prompt: a hash of its settings, its numbers and, for a class of the user's, its code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from promptscope.code_identity import UnknownIdentityError, code_identity
from promptscope.errors import PromptError
from promptscope.files import content_hash, tensor_hash

if TYPE_CHECKING:
    from promptscope.prompts.prompt import Prompt


def prompt_hash(prompt: Prompt) -> str:
    """Implement `Prompt.content_hash`."""
    numbers = (*prompt.named_parameters(), *prompt.named_buffers())
    tensors = {name: tensor_hash(tensor) for name, tensor in numbers}
    described = {"type": type(prompt).__name__, "settings": prompt.settings(), "tensors": tensors}
    code = _own_code(prompt)
    return content_hash(described | {"code": code} if code else described)


def _own_code(prompt: Prompt) -> dict[str, str]:
    """Return hashes of the classes of prompt, network and modules that are not promptscope's or PyTorch's."""
    kinds = dict.fromkeys(map(type, (*prompt.modules(), prompt.reparameterisation)))
    try:
        return {
            kind.__qualname__: code_identity(kind)
            for kind in kinds
            if kind.__module__.partition(".")[0] not in ("promptscope", "torch", "builtins")
        }
    except UnknownIdentityError as error:
        raise PromptError(
            f"the code of {type(prompt).__name__} refers to something that cannot be hashed ({error}): return it "
            "from settings(), or compute it inside of the class"
        ) from error
