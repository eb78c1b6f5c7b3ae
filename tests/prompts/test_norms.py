"""Norms of a prompt's vectors."""

import pytest

from promptscope import DeepPrompt, SoftPrompt
from promptscope.prompts import prompt_norms
from tests.tiny_models import hooked


def test_norms_name_layer_role_and_position() -> None:
    prompt = DeepPrompt(3, layers=[0, 2]).bind(hooked("gpt2"))
    table = prompt_norms(prompt)
    assert len(table) == 2 * 2 * 3
    row = table.query("role == 'values' and layer == 2 and position == 1")["norm"].item()
    assert row == pytest.approx(prompt.values()[1, 1].norm().item())


def test_norms_of_an_input_level_prompt() -> None:
    prompt = SoftPrompt(3).bind(hooked("gpt2"))
    assert prompt_norms(prompt)["norm"].tolist() == pytest.approx(prompt.vectors().norm(dim=1).tolist())
