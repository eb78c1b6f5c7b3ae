"""A few-shot text that asks for a description, with placeholders where a prompt's tokens are to be written."""

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
    """Demonstrations `name: description`, one a line, and a last line whose name is k placeholders.

    `placeholder` is a word of one token; it is repeated, one for each prompt token. What the model writes after the
    last `separator`, up to the end of the line, is its description.

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
            raise ProbeError("a describe prompt needs at least one demonstration (name, description)")

    @property
    def head(self) -> str:
        """The text before the placeholders."""
        return "".join(f"{name}{self.separator} {description}\n" for name, description in self.demonstrations)

    def show(self, k: int) -> str:
        """Return the whole text for k prompt tokens."""
        return f"{self.head}{self.placeholder * k}{self.separator}"

    def encode(self, model: HookedModel, k: int) -> tuple[Int[Tensor, "n"], Int[Tensor, "m"]]:
        """Return the tokens before the placeholders (with the model's own start token), and from them on.

        Raises:
            ProbeError: the placeholder is not one token, which is what makes its position known.
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
