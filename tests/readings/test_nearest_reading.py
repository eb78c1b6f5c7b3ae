"""Nearest tokens of a prompt: real tokens are found at distance 0, percentiles and label rates against loops."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from promptscope import DeepPrompt, ProbeError, PromptError, SoftPrompt
from promptscope.models import load_model
from promptscope.readings import Nulls, read_nearest_tokens
from promptscope.readings.vocabulary import embedding_table, label_token_ids
from tests.tiny_models import FAMILIES, hooked, tiny_hf_model
from tests.tiny_tokenizer import ids, tiny_tokenizer


def made_of(model, tokens, scale=1.0):
    prompt = SoftPrompt(len(tokens)).bind(model)
    with torch.no_grad():
        prompt.embedding.copy_(scale * model.embed(torch.tensor(tokens)))
    return prompt


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_a_real_token_is_its_own_neighbour_at_distance_zero(family, metric):
    model = hooked(family)
    table = read_nearest_tokens(model, made_of(model, [7, 100, 3]), n=2, metric=metric, nulls=Nulls(random=2)).table
    own = table[(table["kind"] == "prompt") & (table["rank"] == 1)]
    assert own["token_id"].tolist() == [7, 100, 3]
    assert own["distance"].tolist() == [0.0, 0.0, 0.0] and own["percentile"].tolist() == [0.0, 0.0, 0.0]
    assert (table[table["kind"] == "random"]["distance"] > 0).all()


def test_agrees_with_pytorchs_cosine():
    model = hooked("llama")
    prompt = SoftPrompt(4, seed=3).bind(model)
    ours = read_nearest_tokens(model, prompt, n=3, nulls=Nulls(random=0)).table.query("kind == 'prompt'")
    vocabulary = model.embed(torch.arange(model.shape.vocab_size))
    theirs = torch.cosine_similarity(prompt.vectors()[:, None], vocabulary[None], dim=-1).topk(3)
    assert ours["token_id"].tolist() == theirs.indices.ravel().tolist()
    np.testing.assert_allclose(1 - ours["distance"], theirs.values.detach().ravel(), atol=1e-6)


def test_the_length_of_a_vector_does_not_move_its_cosine():
    model = hooked("gpt2")
    prompt = made_of(model, [7, 100, 3])
    with torch.no_grad():
        prompt.embedding.mul_(2.5)
    table = read_nearest_tokens(model, prompt, n=2, nulls=Nulls(random=0)).table.query("kind == 'prompt'")
    assert table[table["rank"] == 1]["token"].tolist() == ["7", "100", "3"]  # this model has no tokenizer: ids
    np.testing.assert_allclose(table[table["rank"] == 1]["distance"], 0, atol=1e-6)
    assert (table[table["rank"] == 2]["distance"] > 0).all()


@pytest.mark.parametrize(("metric", "scipys"), [("l2", "euclidean"), ("cosine", "cosine")])
def test_percentiles_are_among_the_vocabularys_own_distances(metric, scipys):
    model = hooked("gpt2")
    table = embedding_table(model).astype(np.float64)
    between = cdist(table, table, scipys)
    np.fill_diagonal(between, np.inf)
    nearest = between.min(axis=1)
    prompt = made_of(model, [5, 9])
    with torch.no_grad():
        prompt.embedding.add_(0.03 * torch.randn(2, 32, generator=torch.Generator().manual_seed(1)))
    reading = read_nearest_tokens(model, prompt, n=1, metric=metric, nulls=Nulls(random=1), n_reference=None)
    np.testing.assert_allclose(reading.reference, nearest, atol=1e-9)
    for row in reading.table.itertuples():
        assert row.percentile == pytest.approx(100 * (nearest < row.distance).mean(), abs=0.3)
        norms = np.linalg.norm(table, axis=1)
        assert row.norm_percentile == pytest.approx(100 * (norms < row.norm).mean(), abs=0.3)
    own = reading.table[reading.table["kind"] == "prompt"]
    assert own["token_id"].tolist() == [5, 9] and own["distance"].max() > 0


def test_a_prompt_made_of_tokens_beats_its_random_null():
    model = hooked("gpt2")
    # The tiny model's own weights come from seed 0: a null drawn from it is made of the first tokens.
    reading = read_nearest_tokens(model, made_of(model, [7, 100, 3]), nulls=Nulls(seed=1000))
    table = reading.against_null().set_index("quantity")
    assert table.loc["distance", "value"] == 0 < table.loc["distance", "random_low"]
    assert table.loc["distance", "p_value"] == table.loc["percentile", "p_value"] == 1 / 20
    assert table.index.tolist() == ["distance", "percentile"]  # no labels were asked for


def test_a_random_prompt_does_not_beat_its_null_more_often_than_it_should():
    model = hooked("gpt2")
    p_values = []
    for seed in range(40):
        prompt = SoftPrompt(3, seed=seed)
        reading = read_nearest_tokens(model, prompt, n=1, nulls=Nulls(seed=1000 + 100 * seed), n_reference=50)
        p_values.append(reading.against_null()["p_value"][0])
    assert np.mean(np.array(p_values) <= 0.1) < 0.3
    assert 0.3 < np.mean(p_values) < 0.7


@pytest.fixture(scope="module")
def speaking():
    return load_model(tiny_hf_model("gpt2", vocab=18), tokenizer=tiny_tokenizer())


def test_label_rate_counts_positions_with_a_label_nearby(speaking):
    prompt = made_of(speaking, [*ids("positive film"), *ids("story")])
    reading = read_nearest_tokens(speaking, prompt, n=1, label_words=["positive", "negative"], nulls=Nulls(random=19))
    table = reading.against_null().set_index("quantity")
    assert table.loc["label_rate", "value"] == pytest.approx(1 / 3)
    own = reading.table[reading.table["kind"] == "prompt"]
    assert own["token"].tolist() == ["positive", "film", "story"] and own["is_label"].tolist() == [True, False, False]
    random = reading.table[reading.table["kind"] == "random"]
    assert table.loc["label_rate", "random"] == pytest.approx(random["is_label"].mean())
    everything = read_nearest_tokens(speaking, prompt, n=18, label_words=["negative"], nulls=Nulls(random=1))
    assert (everything.per_position()["label_rate"] == 1).all()


def test_label_words_are_looked_up_with_and_without_a_space():
    model = load_model("embedded-causal")
    names = {model.tokenizer.decode([i]) for i in label_token_ids(model, ["Asia"])}
    assert names <= {"Asia", " Asia", "asia", " asia"} and names


def test_unknown_label_words_and_deep_prompts_are_refused(speaking):
    prompt = SoftPrompt(2).bind(speaking)
    with pytest.raises(ProbeError, match="'zebra' has no tokens"):
        read_nearest_tokens(speaking, prompt, label_words=["zebra"])
    with pytest.raises(PromptError, match="keys and values"):
        read_nearest_tokens(speaking, DeepPrompt(2))


def test_seeded_and_shown(speaking):
    prompt = made_of(speaking, ids("good bad"))
    one, two = (read_nearest_tokens(speaking, prompt, n=2, n_reference=10) for _ in range(2))
    assert one.table.equals(two.table) and one.to_dataframe() is one.table
    other = read_nearest_tokens(speaking, prompt, n=2, n_reference=10, nulls=Nulls(seed=50))
    assert not one.table.equals(other.table)
    drawn = [read_nearest_tokens(speaking, prompt, n_reference=6, seed=seed).reference for seed in range(3)]
    assert len({tuple(sorted(reference)) for reference in drawn}) > 1
    assert "0: 'good'" in repr(one) and one.provenance["nulls"] == {"random": 19}
