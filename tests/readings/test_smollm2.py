"""Positive controls on a real model: prompts made of real tokens are read as what they are."""

from pathlib import Path

import pytest

from promptscope import HookedModel, SoftPrompt, load_model
from promptscope.readings import Nulls, class_rate, read_logit_lens, read_nearest_tokens, read_patchscope

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(smollm2: Path) -> HookedModel:
    return load_model(smollm2)


@pytest.fixture(scope="module")
def einstein(model: HookedModel) -> SoftPrompt:
    return SoftPrompt(2, init="text: Albert Einstein").bind(model)


def test_patchscope_describes_a_name_and_no_random_prompt(model: HookedModel, einstein: SoftPrompt) -> None:
    reading = read_patchscope(
        model,
        einstein,
        scores={"physics": class_rate(["physicist"])},
        source_layers=[5, 9, 14],
        target_layers=[0, 2],
        positions=[1],
        nulls=Nulls(random=3),
    )
    table = reading.against_null().set_index("quantity").loc["physics, mean over the grid"]
    assert table["value"] > 0.7 and table["random"] == table["unpatched"] == 0


def test_nearest_tokens_are_the_tokens(model: HookedModel, einstein: SoftPrompt) -> None:
    reading = read_nearest_tokens(model, einstein, n=2, label_words=["Einstein"], nulls=Nulls(random=4))
    own = reading.table.query("kind == 'prompt' and rank == 1")
    assert own["token"].tolist() == [" Albert", " Einstein"] and own["distance"].tolist() == [0, 0]
    assert (reading.table.query("kind == 'random'")["percentile"] > 99).all()


def test_the_last_layer_says_what_the_model_says(model: HookedModel, einstein: SoftPrompt) -> None:
    ids = model.tokenizer(" Albert Einstein", return_tensors="pt")["input_ids"]
    expected = model.logits(ids)[0].argmax(-1).tolist()
    lens = read_logit_lens(model, einstein, n=1, nulls=Nulls(random=0))
    assert lens.top[lens.top["layer"] == 29]["token_id"].tolist() == expected
