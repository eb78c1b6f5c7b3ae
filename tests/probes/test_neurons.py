"""FFN states and ON scores against loops over bare models, one unpadded row at a time."""

import math

import numpy as np
import pytest

import promptscope as ps
from promptscope.errors import ProbeError
from promptscope.probes import NeuronStates, on_scores, probe
from promptscope.store import ActivationStore
from promptscope.tasks import Encoded
from tests.probe_inputs import counting, encoded
from tests.probes.inside import K, inputs, inside, prompt
from tests.tiny_models import hooked

FAMILIES = ("gpt2", "llama", "bert", "t5")
SEPARATOR = 7


def alone(example: Encoded) -> Encoded:
    return Encoded("s", [SEPARATOR], ["special"], [True], [-100], example.decoder_input_ids, 0, False)


def ended(examples: list[Encoded]) -> list[Encoded]:
    """The same inputs, all of which end with the separator."""
    return [Encoded(**(vars(e) | {"input_ids": [*e.input_ids[:-1], SEPARATOR]})) for e in examples]


def expected(family: str, kind: str, state: str, at: str, examples: list[Encoded]) -> list[np.ndarray]:
    """One array (P, F) for each layer, straight from the definition."""
    made = prompt(kind, family)
    rows = examples if at == "last" else [alone(examples[0])]
    per_row = []
    for row in rows:
        found = inside(family, row, made)["pre" if state == "pre" else "post"]
        picked = [x[:K] if at == "prompt" else x[-1:] for x in found]
        per_row.append([(x > 0).astype(float) if state == "binary" else x for x in picked])
    return [np.mean([row[layer] for row in per_row], axis=0) for layer in range(len(per_row[0]))]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(float(x) ** 2 for x in a)) / math.sqrt(sum(float(y) ** 2 for y in b))


@pytest.mark.parametrize("kind", ["v1", "v2"])
@pytest.mark.parametrize("family", FAMILIES)
def test_states_are_those_of_the_model_alone(family, kind):
    examples = ended(inputs(family))
    places = ("separator", "last") if kind == "v2" else ("separator", "prompt", "last")
    probes = [NeuronStates(state, at) for state in ("pre", "post", "binary") for at in places]
    results = probe(hooked(family), {"p": prompt(kind, family)}, examples, probes, batch_size=3, progress=False)
    for one in probes:
        truth = expected(family, kind, one.state, one.at, examples)
        result = results[one.name]
        np.testing.assert_allclose(result.values.sel(prompt="p"), truth, atol=2e-6 * np.abs(truth).max() + 1e-6)
        assert np.abs(truth).max() > 0.1
        np.testing.assert_allclose(result.layer_curve().values.sel(prompt="p"), np.mean(truth, axis=(1, 2)), atol=1e-5)


@pytest.mark.parametrize("at", ["separator", "prompt", "last"])
@pytest.mark.parametrize("state", ["pre", "post", "binary"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_on_scores_of_tasks_are_the_loop_s(family, state, at):
    model = hooked(family)
    kinds = ("v1",) if at == "prompt" else ("v1", "v2")
    results, states = {}, {}
    for number, task in enumerate(("a", "b", "c")):
        init = ps.init.Uniform(-2.0, 2.0)
        prompts = {"v1": ps.SoftPrompt(K, init=init, seed=number), "v2": ps.DeepPrompt(K, init=init, seed=number)}
        prompts = {kind: prompts[kind].bind(model) for kind in kinds}
        examples = ended(inputs(family, seed=number))
        (results[task],) = probe(model, prompts, examples, NeuronStates(state, at), progress=False).values()
        for kind, made in prompts.items():
            rows = examples if at == "last" else [alone(examples[0])]
            found = [inside(family, row, made)["pre" if state == "pre" else "post"] for row in rows]
            for layer in range(3):
                picked = [x[layer][:K] if at == "prompt" else x[layer][-1:] for x in found]
                picked = [x > 0 for x in picked] if state == "binary" else picked
                states[kind, task, layer] = np.mean(picked, axis=0)
    scores = on_scores(results, {"a": "en", "b": "en", "c": "ko"})
    truth = np.array(
        [
            [
                [
                    [
                        np.mean([cosine(x, y) for x, y in zip(states[k, t, i], states[k, u, i], strict=True)])
                        for i in range(3)
                    ]
                    for u in "abc"
                ]
                for t in "abc"
            ]
            for k in kinds
        ]
    )
    assert truth.min() < 0.999
    np.testing.assert_allclose(scores.values.transpose("prompt", "task", "other", "layer"), truth, atol=1e-6)
    curve = scores.layer_curve()
    np.testing.assert_allclose(curve.values.sel(pairs="en"), truth[:, 0, 1], atol=1e-6)
    np.testing.assert_allclose(curve.values.sel(pairs="across"), (truth[:, 0, 2] + truth[:, 1, 2]) / 2, atol=1e-6)
    assert curve.data["pairs"].values.tolist() == ["en", "across"]
    assert "pairs of tasks" in curve.title


def test_prompts_of_one_result_are_tasks_too():
    """At the separator no text is read, so all tasks' prompts can be probed at once."""
    model = hooked("gpt2")
    init = ps.init.Uniform(-2.0, 2.0)
    made = {name: ps.DeepPrompt(K, init=init, seed=i).bind(model) for i, name in enumerate("abcdef")}
    results = probe(model, made, ended(inputs("gpt2")), NeuronStates(), progress=False)
    together = on_scores(results["neuron_states"])
    apart = on_scores(
        {
            name: probe(model, {"v2": one}, ended(inputs("gpt2")), NeuronStates(), progress=False)["neuron_states"]
            for name, one in made.items()
        }
    )
    assert together.dims == ("task", "other", "layer") and together.data["pairs"].values.tolist() == ["all"]
    np.testing.assert_allclose(together.values, apart.values.sel(prompt="v2"), atol=1e-7)
    curve = together.layer_curve().data.sel(pairs="all")
    assert (curve["low"] < curve["values"]).all() and (curve["values"] < curve["high"]).all()  # six tasks: a jackknife


def test_one_row_is_run_at_the_separator_and_only_sums_are_kept(tmp_path):
    model, passes = counting()
    examples, made = ended(encoded(lengths=(5,) * 9)), {"v1": ps.SoftPrompt(K)}
    probe(model, made, examples, NeuronStates(), store=tmp_path, progress=False)
    assert [p["size"] for p in passes] == [1]
    store = ActivationStore(tmp_path / "sums", shard_size=4)
    probe(model, made, examples, [NeuronStates(at="last"), NeuronStates("binary", "last")], store=store, progress=False)
    assert sum(p["size"] for p in passes) == 1 + 9
    one_state = 3 * model.bridge.cfg.d_mlp * 4  # layers, neurons, bytes
    sizes = store.entries()["bytes"]
    assert len(sizes) == 2 and (sizes < 3 * (one_state + 600)).all()  # 3 shards, and not 9 inputs


def test_shards_and_batches_do_not_change_sums(tmp_path):
    examples, made = ended(inputs("llama")), {"v1": prompt("v1", "llama")}
    options = {"progress": False}
    whole = probe(hooked("llama"), made, examples, NeuronStates("binary", "last"), batch_size=7, **options)
    store = ActivationStore(tmp_path, shard_size=2)
    parts = probe(
        hooked("llama"), made, examples[::-1], NeuronStates("binary", "last"), store=store, batch_size=1, **options
    )
    for name in whole:
        np.testing.assert_allclose(whole[name].values, parts[name].values, atol=1e-6)


def test_bad_input():
    model = hooked("gpt2")
    with pytest.raises(ProbeError, match=r"all end with the same special token.*\{sep\}.*at='last'"):
        probe(model, {"v1": ps.SoftPrompt(2)}, encoded(), NeuronStates(), progress=False)
    result = probe(model, {"v1": ps.SoftPrompt(2)}, encoded(), NeuronStates(separator=9), progress=False)
    assert result["neuron_states"].values.shape == (1, 3, 1, 128)
    deep = {"v2": ps.DeepPrompt(2)}
    with pytest.raises(ProbeError, match=r"'v2' is a deep prompt.*at='separator'"):
        probe(model, deep, ended(encoded()), NeuronStates(at="prompt"), progress=False)
    with pytest.raises(ProbeError, match="needs a prompt, and none is given"):
        probe(model, None, ended(encoded()), NeuronStates(), progress=False)
    two = {"a": ps.SoftPrompt(2), "b": ps.SoftPrompt(3)}
    with pytest.raises(ProbeError, match=r"prompts of one length, got lengths \[2, 3\]"):
        probe(model, two, ended(encoded()), NeuronStates(at="prompt"), progress=False)
    unequal = probe(model, two, ended(encoded()), NeuronStates(), progress=False)["neuron_states"]
    with pytest.raises(ProbeError, match=r"different lengths.*\{'a': 2, 'b': 3\}.*Compare prompts of one length"):
        on_scores(unequal)


def states_of(family="gpt2", seed=0, length=K, name="v1", probes=None):
    model = hooked(family, seed=seed)
    made = {name: ps.SoftPrompt(length).bind(model)}
    (result,) = probe(model, made, ended(inputs(family)), probes or NeuronStates(), progress=False).values()
    return result


def test_scores_of_what_cannot_be_compared():
    first = states_of()
    with pytest.raises(ProbeError, match=r"different models.*results of one model"):
        on_scores({"a": first, "b": states_of(seed=5)})
    with pytest.raises(ProbeError, match=r"different lengths of prompts.*Compare prompts of one length"):
        on_scores({"a": first, "b": states_of(length=2)})
    with pytest.raises(ProbeError, match=r"different prompts: \['v1'\] and \['other'\]"):
        on_scores({"a": first, "b": states_of(name="other")})
    with pytest.raises(ProbeError, match="different probes"):
        on_scores({"a": first, "b": states_of(probes=NeuronStates("binary"))})
    with pytest.raises(ProbeError, match="at least two tasks, got"):
        on_scores({"a": first})
    with pytest.raises(ProbeError, match="at least one entry"):
        on_scores({})
    with pytest.raises(ProbeError, match="no entry for the task 'b'"):
        on_scores({"a": first, "b": first}, {"a": "en"})
    with pytest.raises(ProbeError, match=r"need results of ps\.probes.NeuronStates"):
        on_scores({"a": on_scores({"a": first, "b": first}), "b": on_scores({"a": first, "b": first})})
