"""Attention mass and the attention-bias decomposition against loops over single rows of bare models."""

import numpy as np
import pytest
import torch

import promptscope as ps
from promptscope.errors import ProbeError
from promptscope.probes import AttentionBias, AttentionMass, probe
from tests.probes.inside import K, inputs, inside, prompt
from tests.tiny_models import hooked

FAMILIES = ("gpt2", "llama", "bert", "t5")
KINDS = ("v1", "v2", "v2 tied")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_attention_mass(family, kind):
    examples, made = inputs(family), prompt(kind, family)
    result = probe(hooked(family), {"p": made}, examples, AttentionMass(), batch_size=3, progress=False)
    result = result["attention_mass"]
    patterns = [inside(family, example, made)["pattern"] for example in examples]
    layers, heads = len(patterns[0]), patterns[0][0].shape[0]
    longest = max(len(example.input_ids) for example in examples)
    mean, profile, answer = np.zeros((layers, heads)), np.zeros((layers, heads, longest)), np.zeros((layers, heads))
    count = np.zeros(longest, int)
    for example in examples:
        count[: len(example.input_ids)] += 1
    for example, pattern in zip(examples, patterns, strict=True):
        n = len(example.input_ids)
        for layer in range(layers):
            for head in range(heads):
                rows = [sum(float(pattern[layer][head, K + i, j]) for j in range(K)) for i in range(n)]
                mean[layer, head] += sum(rows) / n / len(examples)
                answer[layer, head] += rows[n - 1] / len(examples)
                for i, row in enumerate(rows):
                    profile[layer, head, i] += row / count[i]
    assert mean.min() > 0.05 and mean.max() < 0.99
    data = result.data.sel(prompt="p")
    np.testing.assert_allclose(data["values"], mean, atol=1e-6)
    np.testing.assert_allclose(data["per_query"], profile, atol=1e-6)
    np.testing.assert_allclose(data["at_answer"], answer, atol=1e-6)
    assert data["n_at_query"].values.tolist() == count.tolist()
    assert result.values.min() >= 0 and result.values.max() <= 1


def test_layers_that_a_prompt_leaves_out_give_it_nothing():
    model = hooked("gpt2")
    middle = ps.DeepPrompt(K, layers=[1], init=ps.init.Uniform(-2.0, 2.0)).bind(model)
    probes = [AttentionMass(), AttentionBias()]
    mass, bias = probe(model, {"p": middle}, inputs("gpt2"), probes, progress=False).values()
    np.testing.assert_array_equal(mass.values.sel(layer=[0, 2]), 0.0)
    assert mass.values.sel(layer=1).min() > 0.05
    # below its layer nothing changes, in it the prompt is a bias and nothing else, above it is more
    assert bias.values.sel(layer=[0, 1]).max() < 1e-6 and bias.values.sel(layer=2).min() > 1e-3


def naive_residual(prompted, plain, layer, head, n):
    """Relative residual and the two parts' sizes of one input and head, query by query."""
    z_sum = rest_sum = text_sum = prompt_sum = 0.0
    n_heads, n_kv = prompted["z"][layer].shape[1], prompted["v"][layer].shape[1]
    kv = head * n_kv // n_heads
    for i in range(n):
        z, z0 = prompted["z"][layer][K + i, head], plain["z"][layer][i, head]
        row = prompted["pattern"][layer][head, K + i]
        m = sum(float(row[j]) for j in range(K))
        z_prompt = sum(float(row[j]) / m * prompted["v"][layer][j, kv] for j in range(K))
        rest = z - (1 - m) * z0 - m * z_prompt
        z_sum, rest_sum = z_sum + float((z**2).sum()), rest_sum + float((rest**2).sum())
        text_sum += float((((1 - m) * z0) ** 2).sum())
        prompt_sum += float(((m * z_prompt) ** 2).sum())
    return np.sqrt(np.array([rest_sum, text_sum, prompt_sum]) / z_sum)


@pytest.mark.parametrize("positions", ["shared", "own"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_attention_bias(family, kind, positions):
    examples, made = inputs(family), prompt(kind, family)
    result = probe(hooked(family), {"p": made}, examples, AttentionBias(positions), batch_size=3, progress=False)
    (result,) = result.values()
    offset = K if positions == "shared" and family != "t5" else 0
    truth = []
    for example in examples:
        prompted, plain = inside(family, example, made), inside(family, example, offset=offset)
        heads = prompted["z"][0].shape[1]
        n = len(example.input_ids)
        truth.append([[naive_residual(prompted, plain, i, h, n) for h in range(heads)] for i in range(3)])
    truth = np.array(truth)  # (X, layer, head, 3)
    data = result.data.sel(prompt="p")
    for i, name in enumerate(("values", "text_part", "prompt_part")):
        np.testing.assert_allclose(data[name], truth[..., i].mean(axis=0), atol=2e-6)
    np.testing.assert_allclose(data["per_example"], truth[..., 0], atol=2e-6)
    moved = family in ("gpt2", "bert") and positions == "own"  # learned positions are a change of their own
    assert (data["values"].sel(layer=0).max() < 1e-6) != moved
    assert data["values"].sel(layer=[1, 2]).min() > 1e-3


def test_half_precision_is_summed_in_single():
    examples = inputs("gpt2")
    made = ps.DeepPrompt(K, init=ps.init.Uniform(-2.0, 2.0))
    bias = probe(hooked("gpt2", torch.bfloat16), {"p": made}, examples, AttentionBias(), progress=False)
    first = bias["attention_bias"].values.sel(layer=0)
    assert first.min() > 1e-6 and first.max() < 0.02


def test_bad_settings_and_no_prompt():
    with pytest.raises(ProbeError, match="needs a prompt, and none is given"):
        probe(hooked("gpt2"), None, inputs("gpt2"), AttentionMass(), progress=False)
    with pytest.raises(ProbeError, match="needs a prompt, and none is given"):
        probe(hooked("gpt2"), None, inputs("gpt2"), AttentionBias(), progress=False)
