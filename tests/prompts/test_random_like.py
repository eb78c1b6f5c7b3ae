"""Random prompts of the same norms: what is kept, what is not."""

import pytest
import torch

from promptscope import DeepPrompt, PromptError, SoftPrompt, random_like
from tests.tiny_models import hooked

PROMPTS = {
    "v1": lambda: SoftPrompt(5, seed=3),
    "v2": lambda: DeepPrompt(5, seed=3),
    "tied": lambda: DeepPrompt(5, tied=True, layers=[0, 2], seed=3),
}


@pytest.mark.parametrize("kind", PROMPTS)
def test_norms_and_settings_stay_and_directions_go(kind: str) -> None:
    prompt = PROMPTS[kind]().bind(hooked("gpt2"))
    before = prompt.content_hash()
    other = random_like(prompt, seed=1)
    assert type(other) is type(prompt)
    assert other.settings() == prompt.settings()
    assert prompt.content_hash() == before
    for (name, a), (_, b) in zip(prompt.named_parameters(), other.named_parameters(), strict=True):
        torch.testing.assert_close(a.norm(dim=-1), b.norm(dim=-1), msg=name)
        # In 32 dimensions random directions have a cosine of about 0.18; 0.9 does not happen.
        assert torch.cosine_similarity(a, b, dim=-1).abs().max() < 0.9


def test_the_seed_decides() -> None:
    prompt = DeepPrompt(4).bind(hooked("gpt2"))
    assert random_like(prompt, seed=1).content_hash() == random_like(prompt, seed=1).content_hash()
    assert random_like(prompt, seed=1).content_hash() != random_like(prompt, seed=2).content_hash()


def test_directions_are_uniform_on_the_sphere() -> None:
    prompt = SoftPrompt(60).bind(hooked("gpt2"))
    with torch.no_grad():
        prompt.embedding.fill_(1.0)  # one and the same direction everywhere
    vectors = random_like(prompt, seed=0).vectors()
    assert vectors.mean(dim=0).norm() < 0.35 * prompt.vectors().norm(dim=1).mean()  # expected: 1 / sqrt(60) = 0.13


def test_it_fits_the_same_model_and_says_what_it_is() -> None:
    model = hooked("gpt2")
    prompt = SoftPrompt(4).bind(model)
    other = random_like(prompt, seed=7)
    assert other.bind(model) is other
    assert other.provenance["random_like"] == prompt.content_hash()
    assert other.provenance["seed"] == 7
    assert "history" not in other.provenance


def test_an_unbound_prompt_has_no_norms() -> None:
    with pytest.raises(PromptError, match="no norms to copy"):
        random_like(SoftPrompt(4))
