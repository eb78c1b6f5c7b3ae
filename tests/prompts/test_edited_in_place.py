"""A prompt whose attributes are changed after it was bound."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import promptscope as ps
from tests.tiny_models import hooked

IDS = torch.tensor([[5, 6, 7]])


def shorter(prompt: ps.Prompt) -> None:
    prompt.length = 2


def longer(prompt: ps.Prompt) -> None:
    prompt.length = 5


def without_numbers(prompt: ps.Prompt) -> None:
    prompt.to("meta")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shorter, r"a prompt of length 2 has .* for 4|needs \(3, 2, 32"),
        (longer, r"a prompt of length 5 has .* for 4|needs \(3, 5, 32"),
        (without_numbers, "device 'meta'"),
    ],
)
@pytest.mark.parametrize("kind", [ps.SoftPrompt, ps.DeepPrompt])
@pytest.mark.parametrize("via", ["hooks", "auto"])
def test_refused_in_every_way(kind: Any, via: Any, change: Callable[[ps.Prompt], None], message: str) -> None:
    model = hooked("gpt2")
    prompt = kind(4).bind(model)
    change(prompt)
    with pytest.raises(ps.PromptError, match=message):
        model.logits(IDS, None, prompt, via=via)
