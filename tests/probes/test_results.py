"""Results: averages and intervals, labels, checks, saving."""

import json

import numpy as np
import pytest
import xarray as xr

from promptscope.errors import ProbeError
from promptscope.probes import ProbeResult, load_result
from promptscope.statistics import mean_interval


@pytest.fixture
def examples() -> dict[str, np.ndarray]:
    """(X=30, layer=3, head=3) for two prompts; v2 is larger in layer 2."""
    generator = np.random.default_rng(0)
    v1 = generator.gamma(2.0, size=(30, 3, 3))
    v2 = v1 + generator.normal(scale=0.1, size=v1.shape)
    v2[:, 2] += 1.0
    return {"v1": v1, "v2": v2}


@pytest.fixture
def result(examples) -> ProbeResult:
    return ProbeResult.from_examples(
        examples,
        coords={"layer": [0, 4, 8], "example": [f"x{i}" for i in range(30)]},
        name="attention_kl",
        title="Attention KL",
        units="nats",
        direction="higher = more",
        provenance={"model": {"name": "tiny"}},
    )


def test_means_intervals_and_labels(result, examples):
    assert result.dims == ("prompt", "layer", "head")
    np.testing.assert_allclose(result.values.sel(prompt="v2", layer=4, head=1), examples["v2"][:, 1, 1].mean())
    low, high = mean_interval(np.stack([examples["v1"], examples["v2"]], axis=1))
    np.testing.assert_allclose(result.data["low"], low)
    np.testing.assert_allclose(result.data["high"], high)
    assert (result.data["low"] < result.values).all() and (result.values < result.data["high"]).all()
    assert result.n_examples == 30 and result.n_skipped == 0
    np.testing.assert_allclose(
        result.data["per_example"].sel(prompt="v1", example="x7", layer=8, head=0), examples["v1"][7, 2, 0], rtol=1e-6
    )


def test_layer_curve_has_the_interval_of_the_mean_over_heads(result, examples):
    curve = result.layer_curve()
    assert curve.dims == ("prompt", "layer") and curve.units == "nats"
    np.testing.assert_allclose(curve.values.sel(prompt="v1"), examples["v1"].mean(axis=(0, 2)))
    low, _ = mean_interval(np.stack([examples["v1"], examples["v2"]], axis=1).mean(axis=-1))
    np.testing.assert_allclose(curve.data["low"], low)
    assert curve.layer_curve() is curve


def test_undefined_inputs_are_left_out_of_every_prompt(examples):
    examples["v2"][3, 0, 0] = np.nan
    result = ProbeResult.from_examples(examples, n_skipped=2)
    assert (result.n_examples, result.n_skipped) == (29, 3)
    np.testing.assert_allclose(result.values.sel(prompt="v1"), np.delete(examples["v1"], 3, axis=0).mean(axis=0))
    assert 3 not in result.data["example"]


def test_without_prompts_there_is_no_prompt_dimension():
    result = ProbeResult.from_examples(np.ones((4, 3)), dims=("layer",))
    assert result.dims == ("layer",)
    assert result.layer_curve() is result


def test_compare_is_the_paired_difference(result, examples):
    difference = result.compare("v2", "v1")
    assert difference.dims == ("layer", "head")
    np.testing.assert_allclose(difference.values, (examples["v2"] - examples["v1"]).mean(axis=0), atol=1e-6)
    p_value = difference.data["p_value"]
    assert (p_value.sel(layer=8) < 0.01).all()  # + 1.0 in every input
    assert (p_value.sel(layer=[0, 4]) > 0.01).all()
    assert set(difference.to_dataframe()) == {"layer", "head", "value", "low", "high", "p_value"}
    with pytest.raises(ProbeError, match=r"no prompt 'v3'.*Did you mean"):
        result.compare("v2", "v3")
    with pytest.raises(ProbeError, match="no prompt"):
        difference.compare("v1", "v2")


def test_to_dataframe_is_tidy(result):
    table = result.to_dataframe()
    assert table.columns.tolist() == ["prompt", "layer", "head", "value", "low", "high"]
    assert len(table) == 2 * 3 * 3
    row = table.query("prompt == 'v2' and layer == 4 and head == 1").iloc[0]
    assert row["value"] == float(result.values.sel(prompt="v2", layer=4, head=1))


def test_repr_says_what_it_is(result):
    text = repr(result)
    assert "Attention KL [prompt 2, layer 3, head 3]" in text
    assert "nats, higher = more; over 30 inputs" in text
    top = result.values.sel(prompt="v2")
    layer, head = (
        int(top[dim][i])
        for dim, i in zip(("layer", "head"), np.unravel_index(top.values.argmax(), top.shape), strict=True)
    )
    assert f"v2: mean {float(top.mean()):.4g}, largest {float(top.max()):.4g} at layer {layer}, head {head}" in text


def test_repr_names_the_largest_in_size():
    assert "largest -2 at layer 0, head 1" in repr(ProbeResult.from_examples(np.full((3, 1, 2), [1.0, -2.0])))


def test_save_and_load(result, tmp_path):
    result.save(tmp_path / "r")
    loaded = load_result(tmp_path / "r")
    xr.testing.assert_identical(loaded.data, result.data)
    for name in ("name", "title", "units", "direction", "range", "n_examples", "n_skipped", "provenance"):
        assert getattr(loaded, name) == getattr(result, name)
    assert loaded.plot().to_json() == result.plot().to_json()


@pytest.mark.parametrize("damage", ["truncate", "no tensors", "json", "missing key", "nothing"])
def test_a_damaged_result_is_refused_by_name(result, tmp_path, damage):
    result.save(tmp_path)
    tensors, about = tmp_path / "result.safetensors", tmp_path / "result.json"
    if damage == "truncate":
        tensors.write_bytes(tensors.read_bytes()[:-3])
    elif damage == "no tensors":
        tensors.unlink()
    elif damage == "json":
        about.write_text(about.read_text()[:-20])
    elif damage == "missing key":
        about.write_text(json.dumps({"sha256": json.loads(about.read_text())["sha256"]}))
    else:
        about.unlink()
    with pytest.raises(ProbeError, match=str(tmp_path)):
        load_result(tmp_path)


def test_construction_checks_dimensions_and_range():
    values = xr.DataArray(np.array([[0.5, 1.5]]), dims=("layer", "head"), coords={"layer": [0], "head": [0, 1]})
    ProbeResult("r", xr.Dataset({"values": values}))
    with pytest.raises(ProbeError, match=r"\[0\.5, 1\.5\], outside its range \[0, 1\]"):
        ProbeResult("r", xr.Dataset({"values": values}), range=(0.0, 1.0))
    with pytest.raises(ProbeError, match="must have a coordinate"):
        ProbeResult("r", xr.Dataset({"values": values.drop_vars("head")}))
    with pytest.raises(ProbeError, match="'values'"):
        ProbeResult("r", xr.Dataset({"value": values}))
    with pytest.raises(ProbeError, match="'low'"):
        ProbeResult("r", xr.Dataset({"values": values, "low": values.mean("head")}))
    with pytest.raises(ProbeError, match="one shape"):
        ProbeResult.from_examples({"a": np.ones((3, 2, 2)), "b": np.ones((3, 2, 1))})
    with pytest.raises(ProbeError, match=r"is undefined .* for each of the 3"):
        ProbeResult.from_examples(np.full((3, 2, 2), np.nan))


def test_results_without_layers_have_no_curve():
    result = ProbeResult.from_examples(np.ones((3, 2)), dims=("head",))
    with pytest.raises(ProbeError, match="no layers"):
        result.layer_curve()
    assert result.plot().data[0].type == "bar"
