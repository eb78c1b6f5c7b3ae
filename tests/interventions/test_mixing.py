"""Prompts mixed token by token: against indexing by hand, and what it does to a model."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import promptscope as ps
from promptscope.errors import PromptError
from promptscope.interventions import mix
from promptscope.prompts import Prompt
from tests.interventions.variants import PROMPTS, K
from tests.training.toy import toy_model, toy_task


def pair(make: Callable[[], Prompt] = PROMPTS["v1"]) -> tuple[Prompt, Prompt]:
    model = toy_model("bert", torch.float64)
    return make().bind(model), ps.random_like(make().bind(model), seed=9)


@pytest.mark.parametrize("name", list(PROMPTS))
def test_taken_tokens_are_the_others_and_the_rest_is_not(name: str) -> None:
    a, b = pair(PROMPTS[name])
    before, model = [number.clone() for number in a.parameters()], toy_model("bert", torch.float64)
    mixed = mix(a, b, [0, 2])
    every = (one.place(model).tensors().values() for one in (a, b, mixed))
    for mine, theirs, new in zip(*every, strict=True):
        assert torch.equal(new[..., [0, 2], :], theirs[..., [0, 2], :])
        assert torch.equal(new[..., [1, 3], :], mine[..., [1, 3], :])
    assert all(torch.equal(x, y) for x, y in zip(before, a.parameters(), strict=True))
    assert mixed.provenance["mix"] == [0, 2]


@given(st.sets(st.integers(0, K - 1)))
def test_what_is_not_taken_from_one_is_taken_from_the_other(tokens: set[int]) -> None:
    a, b = pair()
    rest, model = sorted(set(range(K)) - tokens), toy_model("bert", torch.float64)
    one, other = (mixed.place(model).vectors for mixed in (mix(a, b, sorted(tokens)), mix(b, a, rest)))
    assert one is not None and other is not None
    assert torch.equal(one, other)


def test_a_mixture_runs_and_does_something() -> None:
    model, task = toy_model("bert", torch.float64), toy_task()
    a, b = pair()
    losses = [ps.evaluate(model, one, task, progress=False)["loss"] for one in (a, mix(a, b, [1]), mix(a, b, []))]
    assert losses[0] == losses[2]
    assert abs(losses[1] - losses[0]) > 1e-4


def test_prompts_that_cannot_be_mixed() -> None:
    model = toy_model("bert", torch.float64)
    a, b = pair()
    deep = ps.DeepPrompt(K).bind(model)
    for other in (ps.SoftPrompt(K + 1).bind(model), deep):
        with pytest.raises(PromptError, match="the same kind, length and width"):
            mix(a, other, 0)
    with pytest.raises(PromptError, match="the same kind, length and width"):
        mix(ps.DeepPrompt(K, layers=[0]).bind(model), ps.DeepPrompt(K, layers=[1]).bind(model), 0)
    with pytest.raises(PromptError, match="unbound"):
        mix(a, ps.SoftPrompt(K), 0)
    with pytest.raises(PromptError, match=r"tokens must be in 0\.\.3, got \[4\]"):
        mix(a, b, 4)
