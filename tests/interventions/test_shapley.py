"""Shapley values of prompt tokens against all orders, evaluated one by one."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch

import promptscope as ps
from promptscope.errors import ArgumentError
from promptscope.interventions import remove, shapley, zero
from promptscope.probes import ProbeResult
from tests.training.toy import toy_model, toy_task


def run(prompt: ps.Prompt, family: str = "gpt2", **options: Any) -> ProbeResult:
    model = toy_model(family, torch.float64)
    return shapley(model, prompt.bind(model), toy_task(), limit=4, progress=False, **options)


@pytest.mark.parametrize("how", ["zero", "remove"])
def test_mean_over_all_orders_of_what_a_token_adds(how: str) -> None:
    model, k = toy_model("gpt2", torch.float64), 3
    prompt = ps.SoftPrompt(k, seed=3).bind(model)

    def loss(kept: frozenset[int]) -> float:
        gone = [i for i in range(k) if i not in kept]
        other = None if how == "remove" and not kept else (zero if how == "zero" else remove)(prompt, gone)
        return ps.evaluate(model, other, toy_task(), limit=4, progress=False)["loss"]

    added = np.zeros(k)
    for order in permutations(range(k)):
        for place, token in enumerate(order):
            before = frozenset(order[:place])
            added[token] += (loss(before) - loss(before | {token})) / 6
    result = run(prompt, how=how)
    np.testing.assert_allclose(result.values.values[0], added, atol=1e-9)
    total = loss(frozenset()) - loss(frozenset(range(k)))
    np.testing.assert_allclose(result.values.values.sum(), total, atol=1e-9)
    assert abs(result.data["efficiency_residual"].item()) < 1e-12
    assert (result.data["low"] <= result.values).all()
    assert (result.values <= result.data["high"]).all()


@pytest.mark.parametrize(("family", "how"), [("gpt2", "cut"), ("bert", "cut"), ("bert", "mean")])
def test_values_add_up_on_every_way_of_running(family: str, how: str) -> None:
    result = run(ps.SoftPrompt(4, seed=3), family, how=how)
    assert abs(result.data["efficiency_residual"].item()) < 1e-12
    assert np.abs(result.values.values).min() > 1e-6


def test_twins_share_what_they_do() -> None:
    """In a deep prompt, two tokens with the same key and value can stand for each other: symmetry."""
    model = toy_model("bert", torch.float64)
    prompt = ps.DeepPrompt(4, seed=3).bind(model)
    with torch.no_grad():
        for number in prompt.numbers.values():
            number[:, 2] = number[:, 1]
    values = run(prompt, "bert", how="cut").values.values[0]
    assert abs(values[1] - values[2]) < 1e-9
    assert abs(values[0] - values[1]) > 1e-6


def test_longer_prompts_are_sampled_and_say_how_well() -> None:
    result = run(ps.DeepPrompt(13, seed=3), n_pairs=4)
    assert result.provenance["n_subsets"] <= 4 * 2 * 12 + 2
    assert (result.data["standard_error"] > 0).all()
    assert abs(result.data["efficiency_residual"].item()) < 1e-9
    assert "promptscope" not in repr(result)
    with pytest.raises(ArgumentError, match="n_pairs must be at least 1"):
        run(ps.SoftPrompt(3), n_pairs=0)
