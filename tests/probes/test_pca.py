"""PCA of residual streams and of prompts against NumPy's SVD, scikit-learn's silhouette and rows run alone."""

import inspect

import numpy as np
import pytest
import torch
import xarray as xr
from sklearn.metrics import silhouette_score

import promptscope as ps
from promptscope.errors import ProbeError
from promptscope.probes import ResidualPCA, load_result, probe, prompt_pca
from promptscope.probes import residual_pca as module
from promptscope.store import ActivationStore
from tests.probe_inputs import LENGTHS
from tests.probes.inside import K, hooked_inside, inputs, prompt
from tests.tiny_models import hooked


def naive_components(vectors, n=2):
    """Coordinates and shares of variance by the eigenvectors of the covariance, signs left open."""
    centred = vectors - vectors.mean(axis=0)
    values, directions = np.linalg.eigh(centred.T @ centred)
    order = np.argsort(values)[::-1][:n]
    return centred @ directions[:, order], values[order] / values.sum()


def same_up_to_sign(got, expected, atol):
    for i in range(expected.shape[-1]):
        sign = np.sign((got[:, i] * expected[:, i]).sum())
        np.testing.assert_allclose(got[:, i], sign * expected[:, i], atol=atol)


PLACES = [("answer", 0), ("last", 0), (4, 5), (-4, 4)]
CASES = [(family, *place) for family in ("gpt2", "llama", "bert", "t5") for place in PLACES]


@pytest.mark.parametrize(("family", "at", "length"), [case for case in CASES if case[:2] != ("t5", "answer")])
def test_residual_pca(family, at, length):
    examples = inputs(family)
    made = {"v1": prompt("v1", family), "v2": prompt("v2", family)}
    (result,) = probe(hooked(family), made, examples, ResidualPCA(at), batch_size=3, progress=False).values()
    usable = [e for e in examples if len(e.input_ids) >= length]
    assert (result.n_examples, result.n_skipped) == (len(usable), len(examples) - len(usable))
    assert result.data["example"].values.tolist() == [e.id for e in usable]
    assert result.data["prompt"].values.tolist() == ["plain", "v1", "v2"]
    clouds = []
    for one in (None, *made.values()):
        k = 0 if one is None else K
        position = {"answer": -1, "last": -1}.get(at, at)
        rows = [hooked_inside(family, e, one)["residual"] for e in usable]
        clouds.append([[x[k:][position] for x in row] for row in rows])
    clouds = np.array(clouds, dtype=float)  # (prompt, X, layer, d)
    for layer in range(3):
        vectors = clouds[:, :, layer].reshape(-1, clouds.shape[-1])
        points, shares = naive_components(vectors)
        scale = np.abs(points).max()
        got = result.values.sel(layer=layer).transpose("prompt", "example", "component").values.reshape(-1, 2)
        same_up_to_sign(got, points, 1e-5 * scale)
        np.testing.assert_allclose(result.data["explained_variance"].sel(layer=layer), shares, atol=1e-6)
        for i, name in enumerate(("v1", "v2"), start=1):
            pair = np.concatenate([clouds[0, :, layer], clouds[i, :, layer]])
            score = silhouette_score(pair, [0] * len(usable) + [1] * len(usable))
            assert float(result.data["silhouette"].sel(prompt=name, layer=layer)) == pytest.approx(score, abs=1e-5)
    assert np.isnan(result.data["silhouette"].sel(prompt="plain")).all()


def test_an_encoder_decoder_answers_in_its_decoder():
    made = prompt("v2", "t5")
    (result,) = probe(hooked("t5"), {"v2": made}, inputs("t5"), ResidualPCA(), progress=False).values()
    (encoder,) = probe(hooked("t5"), {"v2": made}, inputs("t5"), ResidualPCA("last"), progress=False).values()
    assert result.values.sizes == encoder.values.sizes
    assert np.abs(result.values.values - encoder.values.values).max() > 1e-2


def test_layers_are_read_in_groups_that_fit(monkeypatch):
    made = {"v1": prompt("v1", "gpt2")}
    whole = probe(hooked("gpt2"), made, inputs("gpt2"), ResidualPCA(), progress=False)["residual_pca"]
    read = []
    gather = module._gather
    monkeypatch.setattr(module, "_BYTES_AT_ONCE", 4 * 2 * len(LENGTHS) * 32 * 2)  # two layers
    monkeypatch.setattr(module, "_gather", lambda *a: read.append(a[2]) or gather(*a))
    parts = probe(hooked("gpt2"), made, inputs("gpt2"), ResidualPCA(), progress=False)["residual_pca"]
    assert {(piece.start, piece.stop) for piece in read} == {(0, 2), (2, 4)}
    np.testing.assert_array_equal(whole.values, parts.values)


def test_both_pcas_and_label_cosines_may_share_a_capture(tmp_path):
    store = ActivationStore(tmp_path)
    made = {"v1": prompt("v1", "gpt2")}
    probe(hooked("gpt2"), made, inputs("gpt2"), [ResidualPCA(), ResidualPCA(n_components=3, name="three")], store=store)
    assert len(store.entries()) == 2  # plain and prompted


def test_bad_residual_pca():
    model, made = hooked("gpt2"), {"v1": prompt("v1", "gpt2")}
    with pytest.raises(ProbeError, match=r"at least 2 inputs with position 14; 1 of 7 have it"):
        probe(model, made, inputs("gpt2"), ResidualPCA(14), progress=False)
    with pytest.raises(ProbeError, match="give it another name"):
        probe(model, {"plain": made["v1"]}, inputs("gpt2"), ResidualPCA(), progress=False)
    with pytest.raises(ProbeError, match="needs a prompt, and none is given"):
        probe(model, None, inputs("gpt2"), ResidualPCA(), progress=False)
    for bad in ({"at": "middle"}, {"n_components": 0}):
        with pytest.raises(ProbeError, match="must be"):
            inspect.unwrap(ResidualPCA.__init__)(ResidualPCA(), **bad)


def clustered(kind: str, spread: float = 0.05, shift: float = 1.0):
    """Prompts of three tasks in two languages: the vectors of a task lie around a centre of its own."""
    model, generator = hooked("gpt2"), torch.Generator().manual_seed(0)
    centres = {task: shift * torch.randn(32, generator=generator) for task in "abc"}
    made = {}
    for language in ("en", "ko"):
        for task, centre in centres.items():
            one = ps.SoftPrompt(K) if kind == "v1" else ps.DeepPrompt(K, tied=kind == "v2 tied", layers=[0, 2])
            one = one.bind(model)
            with torch.no_grad():
                for parameter in one.parameters():
                    parameter.copy_(centre + spread * torch.randn(parameter.shape, generator=generator))
            made[f"{task}-{language}"] = one
    tasks = {name: name[0] for name in made}
    return made, tasks, {name: name[2:] for name in made}


@pytest.mark.parametrize("kind", ["v1", "v2", "v2 tied"])
def test_prompt_pca(kind):
    made, tasks, languages = clustered(kind)
    result = prompt_pca(made, tasks, languages, n_permutations=99)
    layers = [-1] if kind == "v1" else [0, 2]
    assert result.data["layer"].values.tolist() == layers
    for row, layer in enumerate(layers):
        vectors = []
        for one in made.values():
            if kind == "v1":
                vectors.append(one.vectors().detach().numpy())
            elif kind == "v2 tied":
                vectors.append(one.keys()[row].detach().numpy())
            else:
                vectors.append(np.hstack([one.keys()[row].detach().numpy(), one.values()[row].detach().numpy()]))
        flat = np.concatenate(vectors).astype(float)
        points, shares = naive_components(flat)
        at = result.data.sel(layer=layer)
        same_up_to_sign(at["values"].transpose("prompt", "position", "component").values.reshape(-1, 2), points, 1e-6)
        np.testing.assert_allclose(at["explained_variance"], shares, atol=1e-6)
        for label, of in (("task", tasks), ("language", languages)):
            score = silhouette_score(flat, np.repeat([of[name] for name in made], K))
            assert float(at[f"silhouette_{label}"]) == pytest.approx(score, abs=1e-6)
            own = at[f"silhouette_{label}_of_prompt"].values  # prompts have as many vectors: their mean is the mean
            assert own.mean() == pytest.approx(score, abs=1e-6) and np.ptp(own) > 0
        assert at["silhouette_task"] > 0.8 > 0.1 > at["silhouette_language"]
        # three pairs of prompts: 1 in 15 of all ways to pair six prompts is the right one
        assert float(at["silhouette_task_p"]) < 0.15 < float(at["silhouette_language_p"])
        assert at["silhouette_task_null"] < at["silhouette_task"]
        for label in ("task", "language"):  # (1 + #) / (1 + 99), and never 0
            count = 100 * float(at[f"silhouette_{label}_p"])
            assert count == pytest.approx(round(count), abs=1e-9) and count > 0.5


def test_a_saved_pca_still_knows_whose_each_prompt_is(tmp_path):
    made, tasks, languages = clustered("v2")
    result = prompt_pca(made, tasks, languages, n_permutations=9)
    result.save(tmp_path)
    xr.testing.assert_identical(load_result(tmp_path).data, result.data)


def test_keys_and_values_can_be_looked_at_apart():
    made, tasks, _ = clustered("v2")
    keys = prompt_pca(made, tasks, role="keys", n_permutations=0)
    values = prompt_pca(made, tasks, role="values", n_permutations=0)
    points, _ = naive_components(np.concatenate([one.values()[1].detach().numpy() for one in made.values()]))
    got = values.values.sel(layer=2).transpose("prompt", "position", "component").values.reshape(-1, 2)
    same_up_to_sign(got, points, 1e-5)
    assert np.abs(keys.values.values - values.values.values).max() > 1e-3
    assert "silhouette_language" not in values.data


def test_prompts_that_cannot_be_set_beside_each_other():
    model = hooked("gpt2")
    first = ps.SoftPrompt(K).bind(model)
    for other, match in (
        (ps.SoftPrompt(2).bind(model), r"the same lengths.*\{'a': 4, 'b': 2\}"),
        (ps.SoftPrompt(K).bind(hooked("gpt2", seed=5)), "the same models"),
        (ps.DeepPrompt(K).bind(model), r"the same kinds.*SoftPrompt.*DeepPrompt"),
        (ps.SoftPrompt(K), "'b' is unbound and has no vectors yet"),
    ):
        with pytest.raises(ProbeError, match=match):
            prompt_pca({"a": first, "b": other})
    deep = ps.DeepPrompt(K, layers=[0, 1]).bind(model)
    with pytest.raises(ProbeError, match="the same layers, got"):
        prompt_pca({"a": deep, "b": ps.DeepPrompt(K, layers=[0, 2]).bind(model)})
    with pytest.raises(ProbeError, match="at least two prompts"):
        prompt_pca({"a": first})
    with pytest.raises(ProbeError, match="no entry for the task 'b'"):
        prompt_pca({"a": first, "b": first.copy()}, languages={"a": "en"})
