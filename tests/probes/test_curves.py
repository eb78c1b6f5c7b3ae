"""Layer curves of several tasks, correlations over heads, and the layers that they choose."""

import numpy as np
import pytest
from scipy.stats import pearsonr

import promptscope as ps
from promptscope.errors import ProbeError
from promptscope.probes import (
    AttentionKL,
    AttentionVariability,
    ProbeResult,
    correlate,
    layer_curves,
    layer_groups,
    load_result,
    probe,
    stack_tasks,
)
from tests.probe_inputs import encoded
from tests.probes.inside import K, prompt
from tests.tiny_models import hooked


def make(seed=0, prompts=("v1", "v2"), layers=12, language="en", fields=("text",), length=20, **about) -> ProbeResult:
    generator = np.random.default_rng(seed)
    numbers = {name: generator.gamma(2.0, size=(30, layers, 4)) for name in prompts}
    provenance = {
        "model": {"name": "tiny", "weights_hash": "w"},
        "prompts": {name: {"length": length} for name in prompts},
        "inputs": {"language": language, "fields": list(fields)},
        "probe": {"type": "AttentionKL"},
    } | about
    return ProbeResult.from_examples(
        numbers, name="attention_kl", title="Attention KL", units="nats", range=(0.0, None), provenance=provenance
    )


def four() -> dict[str, ProbeResult]:
    return {
        "sa-en": make(0),
        "nli-en": make(1, fields=("premise", "hypothesis")),
        "sa-ko": make(2, language="ko"),
        "nli-ko": make(3, language="ko", fields=("premise", "hypothesis")),
    }


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("language", {"en": ["sa-en", "nli-en"], "ko": ["sa-ko", "nli-ko"]}),
        ("input_type", {"single": ["sa-en", "sa-ko"], "pair": ["nli-en", "nli-ko"]}),
        ("task", {name: [name] for name in ("sa-en", "nli-en", "sa-ko", "nli-ko")}),
    ],
)
def test_curves_are_means_over_the_tasks_of_a_group(by, groups):
    results = four()
    curves = layer_curves(results, by)
    assert curves.dims == ("prompt", "group", "layer")
    assert curves.data["group"].values.tolist() == list(groups)
    for group, tasks in groups.items():
        for made in ("v1", "v2"):
            each = [results[task].values.sel(prompt=made).values.mean(axis=1) for task in tasks]
            np.testing.assert_allclose(curves.values.sel(group=group, prompt=made), np.mean(each, axis=0))
    assert curves.n_examples == 120 and curves.layer_curve() is curves


def test_the_interval_of_one_task_is_its_own_and_that_of_a_mean_is_narrower():
    results = four()
    alone = layer_curves(results, "task").data.sel(group="sa-en")
    own = results["sa-en"].layer_curve().data
    np.testing.assert_allclose(alone["low"], own["low"])
    np.testing.assert_allclose(alone["high"], own["high"])
    together = layer_curves(results, dict.fromkeys(results, "all")).data.sel(group="all")
    widths = [np.asarray(r.layer_curve().data["high"] - r.layer_curve().data["values"]) for r in results.values()]
    np.testing.assert_allclose(together["high"] - together["values"], np.sqrt(sum(w**2 for w in widths)) / 4)


def test_stacked_tasks_keep_their_numbers_and_can_be_saved(tmp_path):
    results = four()
    stacked = stack_tasks(results)
    assert stacked.dims == ("task", "prompt", "layer", "head")
    np.testing.assert_array_equal(stacked.values.sel(task="sa-ko"), results["sa-ko"].values)
    stacked.save(tmp_path)
    np.testing.assert_array_equal(load_result(tmp_path).values, stacked.values)


def test_what_cannot_be_set_beside_each_other():
    first = make()
    for other, match in (
        (make(model={"name": "other", "weights_hash": "x"}), "different models.*results of one model"),
        (make(length=5), "different lengths of prompts.*Compare prompts of one length"),
        (make(layers=6), "different layers"),
        (make(prompts=("v1", "v3")), "different prompts"),
        (make(probe={"type": "AttentionKL", "reading": "per_query"}), "different probes"),
    ):
        for function in (layer_curves, stack_tasks):
            with pytest.raises(ProbeError, match=match):
                function({"a": first, "b": other})
    with pytest.raises(ProbeError, match=r"which group 'b' is in.*by="):
        layer_curves({"a": first, "b": make(language=None)}, "language")
    with pytest.raises(ProbeError, match="which group 'b' is in"):
        layer_curves({"a": first, "b": make()}, {"a": "x"})


def test_prompts_of_different_lengths_are_not_compared():
    result = make(prompts=("v1", "v2"))
    result.provenance["prompts"]["v2"]["length"] = 5
    with pytest.raises(ProbeError, match=r"different lengths.*\{'v1': 20, 'v2': 5\}"):
        result.compare("v1", "v2")


def test_real_results_carry_what_curves_need():
    model = hooked("gpt2")
    made = {"v1": prompt("v1", "gpt2")}
    results = {seed: probe(model, made, encoded(seed=seed), AttentionKL(), progress=False) for seed in (0, 1)}
    curves = layer_curves({str(seed): found["attention_kl"] for seed, found in results.items()})
    np.testing.assert_allclose(
        curves.values.sel(group="1", prompt="v1"), results[1]["attention_kl"].layer_curve().values.sel(prompt="v1")
    )
    assert results[0]["attention_kl"].provenance["prompts"]["v1"]["length"] == K


def test_correlation_is_scipy_s_over_the_heads_of_a_quarter():
    kl = make(layers=24)
    generator = np.random.default_rng(9)
    property = ProbeResult.from_examples(
        generator.random((5, 24, 4)) + kl.values.sel(prompt="v2").values / 4,
        name="attention_variability",
        provenance=kl.provenance,
    )
    result = correlate(kl, property)
    assert result.data["layers"].values.tolist() == ["0-5", "6-11", "12-17", "18-23"]
    for made in ("v1", "v2"):
        for i, group in enumerate(("0-5", "6-11", "12-17", "18-23")):
            rows = slice(6 * i, 6 * i + 6)
            x = kl.values.sel(prompt=made).values[rows].ravel()
            truth = pearsonr(x, property.values.values[rows].ravel())
            at = result.data.sel(prompt=made, layers=group)
            assert float(at["values"]) == pytest.approx(truth.statistic, abs=1e-12)
            assert float(at["p_value"]) == pytest.approx(truth.pvalue, abs=1e-12)
            assert at["low"] < at["values"] < at["high"]
    assert result.values.sel(prompt="v2").min() > result.values.sel(prompt="v1").max()
    assert result.to_dataframe().columns.tolist() == ["prompt", "layers", "value", "p_value", "low", "high"]
    halves = correlate(kl, property, n_groups=2).values.sel(prompt="v1")
    assert halves["layers"].values.tolist() == ["0-11", "12-23"]
    x = kl.values.sel(prompt="v1").values
    truth = [pearsonr(x[i : i + 12].ravel(), property.values.values[i : i + 12].ravel()).statistic for i in (0, 12)]
    np.testing.assert_allclose(halves, truth, atol=1e-12)


def test_correlation_on_a_model():
    model = hooked("gpt2")
    probes = [AttentionKL(), AttentionVariability(7)]
    found = probe(model, {"v1": prompt("v1", "gpt2")}, encoded(), probes, progress=False)
    result = correlate(found["attention_kl"], found["attention_variability"])
    assert result.data["layers"].values.tolist() == ["0", "1", "2"]  # three layers make three groups
    kl, variability = found["attention_kl"].values.sel(prompt="v1").values, found["attention_variability"].values.values
    np.testing.assert_allclose(result.values[0], [pearsonr(kl[i], variability[i])[0] for i in range(3)], atol=1e-9)


def test_correlations_that_make_no_sense():
    kl = make()
    plain = ProbeResult.from_examples(np.ones((5, 12, 4)), name="plain", provenance=kl.provenance)
    assert np.isnan(correlate(kl, plain).values).all()  # nothing varies
    with pytest.raises(ProbeError, match="second without prompts"):
        correlate(kl, kl)
    with pytest.raises(ProbeError, match="measured on the same model"):
        correlate(kl, ProbeResult.from_examples(np.ones((5, 12, 4)), name="plain"))
    with pytest.raises(ProbeError, match="different layers"):
        correlate(kl, ProbeResult.from_examples(np.ones((5, 6, 4)), name="plain", provenance=kl.provenance))


def curve(values) -> ProbeResult:
    return ProbeResult.from_examples({"v2": np.array([values, values])}, dims=("layer",), name="attention_kl")


def test_layer_groups_are_for_deep_prompts():
    zigzag = [0.1, 0.5, 0.2, 0.6, 0.3, 0.7, 0.4, 0.8, 0.5, 0.6, 0.7, 0.9]
    groups = layer_groups(curve(zigzag), prompt="v2")
    assert (groups.peaks, groups.troughs) == ((1, 3, 5, 7), (2, 4, 6, 8))
    assert groups.peak_group == (0, 1, 3, 5, 7, 8, 9, 10, 11)
    assert groups.trough_group == (0, 2, 4, 6, 8, 9, 10, 11)
    assert ps.DeepPrompt(4, layers=groups.peak_group).layers == groups.peak_group
    higher = ProbeResult.from_examples({"v2": np.array([zigzag] * 2)}, ("layer",), {"layer": range(10, 22)})
    assert layer_groups(higher, prompt="v2").peaks == (11, 13, 15, 17)  # layers, not places in the curve
    from_heads = make(layers=24)
    assert len(layer_groups(from_heads, prompt="v1").peaks) > 3


def test_layer_groups_of_what_has_no_turns():
    with pytest.raises(ProbeError, match=r"several layer curves, and one must be chosen.*prompt=\['v1', 'v2'\]"):
        layer_groups(make())
    with pytest.raises(ProbeError, match="no prompt 'v9'"):
        layer_groups(make(), prompt="v9")
    with pytest.raises(ProbeError, match="at least three"):
        layer_groups(curve([1.0, 2.0]), prompt="v2")
    with pytest.raises(ProbeError, match=r"same layers \[0, 1, 2, 3, 4\].*smaller last"):
        layer_groups(curve([1.0, 3.0, 2.0, 4.0, 1.0]), prompt="v2")
