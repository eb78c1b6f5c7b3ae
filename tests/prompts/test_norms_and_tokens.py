"""Norms of a prompt's vectors, and the vocabulary entries they lie near."""

import pytest
import torch

from promptscope import DeepPrompt, PromptError, SoftPrompt
from promptscope.prompts import nearest_tokens, prompt_norms
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


def test_a_token_is_nearest_to_itself_whatever_its_length() -> None:
    model = hooked("gpt2")
    prompt = SoftPrompt(3).bind(model)
    with torch.no_grad():
        prompt.embedding.copy_(2.5 * model.embed(torch.tensor([7, 100, 3])))
    table = nearest_tokens(prompt, model, n=2)
    first = table[table["rank"] == 1]
    assert first["token"].tolist() == ["7", "100", "3"]  # this model has no tokenizer: ids
    assert first["cosine"].tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert (table[table["rank"] == 2]["cosine"] < 1).all()


def test_a_deep_prompt_has_no_nearest_tokens() -> None:
    model = hooked("gpt2")
    with pytest.raises(PromptError, match="keys and values"):
        nearest_tokens(DeepPrompt(3).bind(model), model)
