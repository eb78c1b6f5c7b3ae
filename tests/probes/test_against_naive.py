"""Both probes against loop-by-loop NumPy over what bare Hugging Face models attend to, one unpadded row at a time."""

from functools import cache

import numpy as np
import pytest
import torch

import promptscope as ps
from promptscope.probes import AttentionKL, AttentionVariability, probe
from promptscope.prompts import Prompt
from promptscope.statistics import attention_variability, jackknife_interval, random_groups
from promptscope.tasks import Encoded
from tests import naive_attention as naive
from tests.probe_inputs import encoded
from tests.tiny_models import FAMILIES, hooked, tiny_hf_model

K = 4


@cache
def eager(family: str):
    """A bare model that returns its attention patterns."""
    model = tiny_hf_model(family)
    model.set_attn_implementation("eager")
    return model.requires_grad_(False)


@cache
def prompt(kind: str, family: str) -> Prompt:
    """Prompts large enough to move attention in a tiny random model."""
    init = ps.init.Uniform(-2.0, 2.0)
    made = ps.SoftPrompt(K, init=init) if kind == "v1" else ps.DeepPrompt(K, tied=kind == "v2 tied", init=init)
    # d_model and d_kv differ under grouped-query attention; a tied uniform prompt does not mind.
    return made.bind(hooked(family))


def bare_patterns(family: str, example: Encoded, vectors=None, offset: int = 0) -> np.ndarray:
    """(layer, head, k+n, k+n) of the bare model on one row, with *vectors* in front of its embeddings."""
    model = eager(family)
    embeds = model.get_input_embeddings()(torch.tensor([example.input_ids]))
    if vectors is not None:
        embeds = torch.cat([vectors[None].detach(), embeds], dim=1)
    options = {"inputs_embeds": embeds, "attention_mask": torch.ones(embeds.shape[:2], dtype=torch.long)}
    if family == "t5":
        attentions = model.encoder(**options, output_attentions=True).attentions
    else:
        positions = torch.arange(embeds.shape[1])[None] + offset
        attentions = model(**options, position_ids=positions, output_attentions=True).attentions
    return torch.stack(attentions)[:, 0].numpy()


def hooked_patterns(family: str, example: Encoded, made: Prompt) -> np.ndarray:
    """The same of the hooked model under a prompt's hooks, one row: tests/prompts hold these to a bare reference."""
    model, found = hooked(family), {}
    names = model.site("attn.hook_pattern")
    with torch.no_grad():
        model.forward_hooked(
            torch.tensor([example.input_ids]),
            prompt=made,
            hooks=[(name, lambda x, hook: found.__setitem__(hook.name, x)) for name in names],
            decoder_input_ids=torch.tensor([example.decoder_input_ids]) if example.decoder_input_ids else None,
        )
    return torch.stack([found[name] for name in names])[:, 0].numpy()


def expected_kl(family: str, kind: str, reading: str, examples: list[Encoded], offset: int = 0) -> np.ndarray:
    """(X, layer, head), loop by loop."""
    causal = hooked(family).family.kind == "causal"
    made = prompt(kind, family)
    table = []
    for example in examples:
        plain = bare_patterns(family, example, offset=offset)
        if kind == "v1":
            prompted = bare_patterns(family, example, made.vectors())
        else:
            prompted = hooked_patterns(family, example, made)
        real, special = np.ones(len(example.input_ids), bool), np.array(example.special)
        arguments = (real, special, K) if reading == "paper" else (real, special, K, causal)
        function = naive.kl_paper if reading == "paper" else naive.kl_per_query
        table.append(
            [
                [function(prompted[layer, head], plain[layer, head], *arguments) for head in range(plain.shape[1])]
                for layer in range(len(plain))
            ]
        )
    return np.array(table)


@pytest.mark.parametrize("reading", ["paper", "per_query"])
@pytest.mark.parametrize("kind", ["v1", "v2", "v2 tied"])
@pytest.mark.parametrize("family", FAMILIES)
def test_attention_kl(family, kind, reading):
    examples = encoded(family=family)
    results = probe(
        hooked(family),
        {"p": prompt(kind, family)},
        examples,
        AttentionKL(reading=reading),
        batch_size=3,
        progress=False,
    )
    (result,) = results.values()
    expected = expected_kl(family, kind, reading, examples)
    assert expected.mean() > 1e-5  # the prompt does something
    np.testing.assert_allclose(result.values.sel(prompt="p"), expected.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(result.data["per_example"].sel(prompt="p"), expected, atol=1e-6)
    np.testing.assert_allclose(result.layer_curve().values.sel(prompt="p"), expected.mean(axis=(0, 2)), atol=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "bert", "llama"])
def test_shared_positions_move_the_plain_model_s_text_behind_the_prompt(family):
    examples = encoded(family=family)
    probes = [AttentionKL(), AttentionKL(positions="shared"), AttentionKL("per_query", positions="shared")]
    results = probe(hooked(family), {"p": prompt("v1", family)}, examples, probes, progress=False)
    for reading, name in [("paper", "attention_kl"), ("per_query", "attention_kl_per_query")]:
        expected = expected_kl(family, "v1", reading, examples, offset=K).mean(axis=0)
        np.testing.assert_allclose(results[f"{name}_shared_positions"].values.sel(prompt="p"), expected, atol=1e-6)
    difference = np.abs(results["attention_kl_shared_positions"].values - results["attention_kl"].values).max()
    # Learned positions matter; a rotation shared by queries and keys does not.
    assert difference < 1e-5 if family == "llama" else difference > 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_variability(family):
    examples = encoded(family=family)
    first_n = 7
    result = probe(hooked(family), None, examples, AttentionVariability(first_n), batch_size=3, progress=False)
    result = result["attention_variability"]
    patterns = [bare_patterns(family, example) for example in examples]
    causal = hooked(family).family.kind == "causal"
    layers, heads = patterns[0].shape[:2]
    expected = [
        [naive.variability([p[layer, head] for p in patterns], first_n, causal) for head in range(heads)]
        for layer in range(layers)
    ]
    assert np.min(expected) > 1e-4
    np.testing.assert_allclose(result.values, expected, atol=1e-6)
    np.testing.assert_allclose(result.layer_curve().values, np.mean(expected, axis=1), atol=1e-6)
    assert (result.n_examples, result.n_skipped) == (5, 2)
    blocks = np.stack([p[:, :, :first_n, :first_n] for p in patterns if p.shape[-1] >= first_n])
    groups = random_groups(5)
    without = np.stack([attention_variability(blocks[groups != group], causal) for group in range(5)])
    for name, bound in zip(("low", "high"), jackknife_interval(np.array(expected), without), strict=True):
        np.testing.assert_allclose(result.data[name], np.clip(bound, 0, 1), atol=1e-6)
    curve, of_curve = result.layer_curve(), jackknife_interval(np.mean(expected, axis=1), without.mean(axis=-1))
    for name, bound in zip(("low", "high"), of_curve, strict=True):  # heads vary together: no mean of their intervals
        np.testing.assert_allclose(curve.data[name], np.clip(bound, 0, 1), atol=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_what_a_deep_prompt_in_one_layer_cannot_do(family):
    """Below its layer nothing changes; in its layer the text's rows only shrink, `a_ij (1 - mass on the prompt)`.

    So renormalised rows stay as they are there, and received attention does not. Shared positions: the text stands
    behind k slots, and in GPT-2 that alone moves attention.
    """
    model = hooked(family)
    middle = ps.DeepPrompt(K, layers=[1], init=ps.init.Uniform(-2.0, 2.0)).bind(model)
    probes = [AttentionKL("paper", "shared"), AttentionKL("per_query", "shared")]
    paper, per_query = probe(model, {"middle": middle}, encoded(), probes, progress=False).values()
    assert paper.values.sel(layer=0).max() < 1e-9
    assert paper.values.sel(layer=1).min() > 1e-4
    assert per_query.values.sel(layer=[0, 1]).max() < 1e-6
    assert per_query.values.sel(layer=2).max() > 1e-5
