"""Order of the inputs, size of the batch and padding change nothing, for every probe."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptscope.probes import AttentionBias, AttentionMass, NeuronStates, ResidualPCA, probe
from promptscope.store import ActivationStore
from tests.probe_inputs import encoded
from tests.probes.inside import inputs, prompt
from tests.tiny_models import hooked

PROBES = [
    AttentionBias(),
    AttentionMass(),
    NeuronStates(at="last"),
    NeuronStates("binary", "last"),
    ResidualPCA(),
    ResidualPCA(4),  # a position that two of the inputs lack
]


def run(family, examples, batch_size=8, probes=PROBES):
    made = {"v1": prompt("v1", family), "v2": prompt("v2", family)}
    return probe(hooked(family), made, examples, probes, batch_size=batch_size, progress=False)


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert", "t5"])
def test_batches_and_order(family):
    examples = inputs(family)
    whole, alone, back = run(family, examples), run(family, examples, 1), run(family, examples[::-1], 3)
    for name, result in whole.items():
        for other in (alone[name], back[name]):
            values = other.values.sel(example=result.data["example"]) if "example" in result.dims else other.values
            np.testing.assert_allclose(result.values, values, atol=1e-5)
            assert (result.n_examples, result.n_skipped) == (other.n_examples, other.n_skipped)
    for name in ("attention_bias", "attention_mass"):
        numbers = whole[name].data["per_example"]
        np.testing.assert_allclose(numbers, back[name].data["per_example"].sel(example=numbers["example"]), atol=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_shards(family, tmp_path):
    """A store in many small files, the inputs that are too short among them, gives the same numbers."""
    made = {"v1": prompt("v1", family)}
    stores = [ActivationStore(tmp_path / str(size), shard_size=size) for size in (64, 2)]
    whole, parts = (probe(hooked(family), made, inputs(family), PROBES, store=one, progress=False) for one in stores)
    for name, result in whole.items():
        for variable in result.data.data_vars:
            np.testing.assert_allclose(result.data[variable], parts[name].data[variable], atol=1e-5, err_msg=name)


@settings(max_examples=8, deadline=None)
@given(lengths=st.lists(st.integers(3, 14), min_size=3, max_size=5), seed=st.integers(0, 99))
def test_identities_hold_for_any_lengths(lengths, seed):
    """Mass is a share, layer 0 is nothing but a bias, and a longer neighbour in the batch changes no number."""
    examples = encoded(lengths, seed=seed)
    probes = [AttentionBias(), AttentionMass()]
    results = run("gpt2", examples, probes=probes)
    padded = run("gpt2", [*examples, *encoded([15], seed=seed + 100)], probes=probes)
    mass, bias = results["attention_mass"], results["attention_bias"]
    assert mass.data["per_query"].min() >= 0 and mass.data["per_query"].max() <= 1 + 1e-6
    assert bias.values.sel(layer=0).max() < 1e-6 < 1e-4 < bias.values.sel(layer=2).min()
    for name in ("attention_mass", "attention_bias"):
        n = len(examples)
        np.testing.assert_allclose(
            results[name].data["per_example"], padded[name].data["per_example"][:, :n], atol=1e-5
        )
