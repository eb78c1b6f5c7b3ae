"""The nulls of a reading: seeded, of the same norms, and the prompt's own start where that is certain."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from promptscope import DeepPrompt, PromptError, SoftPrompt, TrainConfig, load_task, train
from promptscope.errors import ArgumentError
from promptscope.models import load_model
from promptscope.readings import Nulls, compare_with_nulls, subjects
from tests.tiny_models import hooked


def trained_a_little(prompt: SoftPrompt) -> SoftPrompt:
    prompt.bind(hooked("gpt2"))
    with torch.no_grad():
        prompt.embedding.add_(1.0)
    return prompt


def test_random_prompts_have_the_norms_and_nothing_else():
    prompt = trained_a_little(SoftPrompt(3))
    read = subjects(hooked("gpt2"), prompt, nulls=Nulls(random=4, seed=7))
    assert [subject.of for subject in read] == ["prompt", "random 0", "random 1", "random 2", "random 3"]
    assert read[0].prompt is prompt
    norms = [np.linalg.norm(subject.vectors, axis=1) for subject in read]
    np.testing.assert_allclose(norms, np.tile(norms[0], (5, 1)), rtol=1e-5)
    for a, b in itertools.pairwise(read):
        assert not np.allclose(a.vectors, b.vectors)
    again = subjects(hooked("gpt2"), prompt, nulls=Nulls(random=4, seed=7))
    np.testing.assert_array_equal(read[2].vectors, again[2].vectors)
    moved = subjects(hooked("gpt2"), prompt, nulls=Nulls(random=4, seed=8))
    np.testing.assert_array_equal(read[2].vectors, moved[1].vectors)


def test_the_untrained_prompt_is_made_again_only_where_provenance_proves_it():
    model = hooked("gpt2")
    prompt = SoftPrompt(2, seed=5).bind(model)
    start = prompt.copy()
    trained = trained_a_little(prompt)
    assert "untrained" not in {subject.kind for subject in subjects(model, trained, nulls=Nulls(random=0))}
    trained.provenance["start"] = start.content_hash()
    read = subjects(model, trained, nulls=Nulls(random=0))
    assert [subject.kind for subject in read] == ["prompt", "untrained"]
    np.testing.assert_array_equal(read[1].vectors, start.vectors().detach().numpy())
    trained.init = load_prompt_init()
    assert len(subjects(model, trained, nulls=Nulls(random=0))) == 1


def load_prompt_init():
    from promptscope.prompts.initialisation import Uniform

    return Uniform(-0.1, 0.1)


def test_a_trained_prompt_knows_its_start():
    model = load_model("embedded-causal")
    run = train(model, SoftPrompt(2), load_task("continent_en"), TrainConfig(steps=1, snapshot_every=1), progress=False)
    read = subjects(model, run.prompt, nulls=Nulls(random=0))
    start = run.snapshots[0].vectors().detach().numpy()
    assert [subject.kind for subject in read] == ["prompt", "untrained"]
    np.testing.assert_array_equal(read[1].vectors, start)


def test_given_nulls_are_read():
    model = hooked("gpt2")
    other = SoftPrompt(2, seed=1).bind(model)
    read = subjects(model, SoftPrompt(2), nulls=Nulls(random=1, untrained=other, wayward=other))
    assert [subject.kind for subject in read] == ["prompt", "random", "untrained", "wayward"]
    with pytest.raises(
        PromptError, match="the wayward prompt must have as many positions as the prompt that is read, 2, and has 3"
    ):
        subjects(model, SoftPrompt(2), nulls=Nulls(wayward=SoftPrompt(3)))
    with pytest.raises(PromptError, match="keys and values"):
        subjects(model, DeepPrompt(2), nulls=Nulls())
    with pytest.raises(ArgumentError, match="random must be at least 0, got -1"):
        Nulls(random=-1)


def test_comparison_is_what_numpy_says():
    generator = np.random.default_rng(0)
    values = generator.normal(size=(12, 4))
    kinds = ["prompt", *["random"] * 10, "untrained"]
    names = ["prompt", *(f"random {r}" for r in range(10)), "untrained"]
    rows = pd.DataFrame({"of": np.repeat(names, 4), "kind": np.repeat(kinds, 4), "up": values.ravel()})
    rows["down"] = -rows["up"]
    table = compare_with_nulls(rows, {"up": True, "down": False}).set_index("quantity")
    draws, own = values[1:11].mean(axis=1), values[0].mean()
    assert table.loc["up", "value"] == pytest.approx(own)
    assert table.loc["up", "random"] == pytest.approx(draws.mean())
    assert table.loc["up", "random_low"] == pytest.approx(np.quantile(draws, 0.025))
    assert table.loc["up", "p_value"] == table.loc["down", "p_value"] == (1 + (draws >= own).sum()) / 11
    assert table.loc["up", "untrained"] == pytest.approx(values[11].mean())
    assert np.isnan(table.loc["up", "wayward"])
    low, high = stats.bootstrap((values[0],), np.mean, method="percentile", n_resamples=4000).confidence_interval
    assert table.loc["up", "low"] == pytest.approx(low, abs=0.15)
    assert table.loc["up", "high"] == pytest.approx(high, abs=0.15)


def test_without_random_prompts_there_is_no_p_value():
    rows = pd.DataFrame({"of": ["prompt"], "kind": ["prompt"], "x": [1.0]})
    assert compare_with_nulls(rows, {"x": True})[["random", "p_value", "low"]].isna().all(axis=None)
