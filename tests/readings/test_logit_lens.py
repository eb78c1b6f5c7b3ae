"""The logit lens: the last layer is the model itself; quantities against SciPy; every null beside."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import softmax

from promptscope import DeepPrompt, ProbeError, PromptError, SoftPrompt
from promptscope.models import load_model
from promptscope.readings import Nulls, prompt_residual, read_logit_lens
from tests.tiny_models import CAUSAL, bare, hooked, tiny_hf_model
from tests.tiny_tokenizer import ids, tiny_tokenizer


def plain_logits(family, prompt):
    """What the plain Hugging Face model says at the prompt positions, given the prompt as embeddings."""
    return bare(family)(inputs_embeds=prompt.vectors().detach()[None]).logits[0].numpy()


@pytest.mark.parametrize("family", CAUSAL)
def test_after_the_last_layer_it_is_the_model_itself(family):
    prompt = SoftPrompt(4, seed=1).bind(hooked(family))
    lens = read_logit_lens(hooked(family), prompt, n=200, nulls=Nulls(random=1))
    q = softmax(plain_logits(family, prompt).astype(np.float64), axis=-1)
    last = lens.top.query("kind == 'prompt' and layer == 2")
    found = np.zeros_like(q)
    found[last["position"], last["token_id"]] = last["probability"]
    np.testing.assert_allclose(found, q, atol=1e-6)
    own = lens.data.sel(of="prompt")
    np.testing.assert_allclose(own["entropy"].sel(layer=2), stats.entropy(q, axis=-1), atol=1e-5)
    assert (own["kl_to_last"].sel(layer=2) == 0).all()


def test_some_layers_are_those_of_all():
    prompt = SoftPrompt(3).bind(hooked("gpt2"))
    whole, some = (
        read_logit_lens(hooked("gpt2"), prompt, n=2, nulls=Nulls(random=1), layers=chosen) for chosen in (None, [1, -1])
    )
    assert some.data["layer"].values.tolist() == [-1, 1]
    for name in whole.data:
        np.testing.assert_allclose(some.data[name], whole.data[name].sel(layer=[-1, 1]), atol=1e-6)
    expected = whole.top[whole.top["layer"].isin([-1, 1])].reset_index(drop=True)
    assert some.top["token_id"].tolist() == expected["token_id"].tolist()
    assert some.top["layer"].tolist() == expected["layer"].tolist()
    for wrong in ([3], []):
        with pytest.raises(ProbeError, match=r"layers must be one or more of -1\.\.2"):
            read_logit_lens(hooked("gpt2"), prompt, layers=wrong)


@pytest.mark.parametrize("family", CAUSAL)
def test_earlier_layers_are_those_of_a_model_cut_off_there(family):
    """A model with its last layer removed says what the lens reads one layer earlier."""
    import copy

    prompt = SoftPrompt(3).bind(hooked(family))
    cut = copy.deepcopy(bare(family))
    layers = {"gpt2": "h"}.get(family, "layers")
    setattr(cut.base_model, layers, getattr(cut.base_model, layers)[:2])
    logits = cut(inputs_embeds=prompt.vectors().detach()[None], use_cache=False).logits[0].numpy()
    q = softmax(logits.astype(np.float64), axis=-1)
    lens = read_logit_lens(hooked(family), prompt, nulls=Nulls(random=0))
    own = lens.data.sel(of="prompt", layer=1)
    np.testing.assert_allclose(own["entropy"], stats.entropy(q, axis=-1), atol=1e-5)
    last = softmax(plain_logits(family, prompt).astype(np.float64), axis=-1)
    np.testing.assert_allclose(own["kl_to_last"], stats.entropy(q, last, axis=-1), atol=1e-5)


@pytest.mark.parametrize("family", CAUSAL)
def test_residual_does_not_depend_on_text_and_starts_at_the_prompt(family):
    model = hooked(family)
    prompt = SoftPrompt(3).bind(model)
    residual = prompt_residual(model, prompt)
    assert residual.shape == (4, 3, 32)
    positions = model.twin.transformer.wpe.weight[:3] if family == "gpt2" else 0
    torch.testing.assert_close(residual[0], prompt.vectors() + positions)
    kept = []
    hook = ("blocks.2.hook_resid_post", lambda x, hook: kept.append(x[:, :3]))
    model.forward_hooked(torch.tensor([[5, 6, 7], [9, 9, 1]]), prompt=prompt, hooks=[hook])
    for row in kept[0]:
        torch.testing.assert_close(residual[-1], row)


def test_prompts_that_enter_at_the_first_layer_stand_there():
    model = hooked("llama")
    prompt = SoftPrompt(3).bind(model)
    usual, moved = prompt_residual(model, prompt), prompt_residual(model, prompt, entry="first_layer")
    torch.testing.assert_close(moved[1], prompt.vectors())
    assert not torch.allclose(moved[2], usual[2], atol=1e-2)


@pytest.fixture(scope="module")
def speaking():
    return load_model(tiny_hf_model("llama", vocab=18), tokenizer=tiny_tokenizer())


def test_label_mass_is_the_probability_of_the_label_words(speaking):
    prompt = SoftPrompt(2).bind(speaking)
    lens = read_logit_lens(speaking, prompt, n=18, label_words=["good", "bad"], nulls=Nulls(random=2))
    labels = lens.top[lens.top["token_id"].isin(ids("good bad"))]
    mass = labels.groupby(["of", "layer", "position"])["probability"].sum()
    for (of, layer, position), value in mass.items():
        cell = lens.data["label_mass"].sel(of=of, layer=layer, position=position)
        assert float(cell) == pytest.approx(value, abs=1e-6)
    assert set(lens.top["token"]) >= {"good", "bad"}


def test_low_is_the_finding_but_for_the_mass_on_labels(speaking):
    prompt = SoftPrompt(2, seed=3).bind(speaking)
    lens = read_logit_lens(speaking, prompt, label_words=["good"], nulls=Nulls(random=9))
    table = lens.against_null().set_index(["layer", "quantity"])["p_value"]
    for name in ("entropy", "kl_to_last", "label_mass"):
        means = lens.data[name].mean("position")
        own, draws = means.sel(of="prompt"), means.sel(of=means["kind"] == "random")
        as_far = (draws >= own) if name == "label_mass" else (draws <= own)
        for layer in (-1, 0, 1):
            assert table[layer, name] == (1 + int(as_far.sel(layer=layer).sum())) / 10


def test_a_random_prompt_is_like_other_random_prompts_and_nulls_are_seeded():
    model = hooked("gpt2")
    prompt = SoftPrompt(3, seed=9)
    lens = read_logit_lens(model, prompt)
    table = lens.against_null()
    assert table["layer"].tolist() == [layer for layer in range(-1, 3) for _ in range(2)]
    assert (table.query("quantity == 'entropy'")["p_value"] > 0.01).all()
    means = lens.data["entropy"].mean("position")
    row = table.query("quantity == 'entropy' and layer == 1").iloc[0]
    assert row["value"] == pytest.approx(float(means.sel(of="prompt", layer=1)))
    assert row["random"] == pytest.approx(float(means.sel(of=means["kind"] == "random", layer=1).mean()))
    again = read_logit_lens(model, prompt)
    np.testing.assert_array_equal(lens.data["entropy"], again.data["entropy"])
    other = read_logit_lens(model, prompt, nulls=Nulls(seed=99))
    assert not np.allclose(lens.data["entropy"].values[1:], other.data["entropy"].values[1:])
    assert "4 layers, 3 positions" in repr(lens) and lens.provenance["tied_embeddings"]


def test_a_prompt_that_says_a_label_is_seen(speaking):
    """At the last position of a prompt trained by hand to raise one word, the mass on it beats random prompts."""
    prompt = SoftPrompt(2).bind(speaking)
    optimiser = torch.optim.Adam(prompt.parameters(), lr=0.1)
    for _ in range(60):
        logits = speaking.twin(inputs_embeds=prompt.vectors()[None]).logits[0]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(ids("good good")))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    lens = read_logit_lens(speaking, prompt, label_words=["good"])
    row = lens.against_null().query("quantity == 'label_mass' and layer == 2").iloc[0]
    assert row["value"] > 1.5 * row["random_high"] and row["p_value"] == 1 / 20


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_other_kinds_are_refused(family):
    with pytest.raises(ProbeError, match=r"logit lens .* needs a causal model.*read_nearest_tokens works with every"):
        read_logit_lens(hooked(family), SoftPrompt(2))


def test_deep_prompts_are_refused():
    with pytest.raises(PromptError, match="keys and values"):
        read_logit_lens(hooked("gpt2"), DeepPrompt(2))
