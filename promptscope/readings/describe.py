"""The few-shot text of Patchscopes: it asks for a description, with placeholders for a prompt's tokens."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from promptscope.checks import checked
from promptscope.errors import ProbeError
from promptscope.models import HookedModel


@checked()
@dataclass(frozen=True)
class DescribePrompt:
    """A few-shot text for Patchscopes: lines `name: description`, then a line whose name is k placeholders.

    - `demonstrations`: the (name, description) pairs;
    - `placeholder`: a word that is one token, repeated for each of the k prompt tokens, whose residual streams are
      written over it;
    - `separator`: what follows a name; what the model writes after the last one, up to the end of the line, is the
      description.

    Raises:
        ProbeError: no demonstration.

    >>> print(DescribePrompt((("Oslo", "a city in Norway"),)).show(2))
    Oslo: a city in Norway
     x x:
    """

    demonstrations: tuple[tuple[str, str], ...] = (
        ("Danube", "a long river in Europe"),
        ("Mozart", "a composer from Austria"),
        ("iron", "a hard grey metal"),
    )
    placeholder: str = " x"
    separator: str = ":"

    def __post_init__(self) -> None:
        if not self.demonstrations:
            raise ProbeError("DescribePrompt needs at least one demonstration (name, description), and got none")

    @property
    def head(self) -> str:
        """The text before the placeholders."""
        return "".join(f"{name}{self.separator} {description}\n" for name, description in self.demonstrations)

    def show(self, k: int) -> str:
        """Return the whole text for k prompt tokens."""
        return f"{self.head}{self.placeholder * k}{self.separator}"

    def encode(self, model: HookedModel, k: int) -> tuple[Int[Tensor, "n"], Int[Tensor, "m"]]:
        """Return two arrays of token ids: before the placeholders (with the model's start token), and from them on.

        Raises:
            ProbeError: the placeholder is not a single known token, so that its positions are not known.
        """
        tokenizer = model.tokenizer
        placeholder = tokenizer(self.placeholder, add_special_tokens=False)["input_ids"]
        if len(placeholder) != 1 or placeholder[0] == tokenizer.unk_token_id:
            what = f"is {len(placeholder)} tokens" if len(placeholder) != 1 else "is no word of its vocabulary"
            raise ProbeError(
                f"the placeholder {self.placeholder!r} must be one known token of {model.name!r}, and it {what}: "
                "choose another, DescribePrompt(placeholder=...)"
            )
        start = tokenizer("", add_special_tokens=True)["input_ids"]
        start = start[:1] if start and start[0] == tokenizer.bos_token_id else []
        head = tokenizer(self.head, add_special_tokens=False)["input_ids"]
        end = tokenizer(self.separator, add_special_tokens=False)["input_ids"]
        return torch.tensor([*start, *head]), torch.tensor([*placeholder * k, *end])
