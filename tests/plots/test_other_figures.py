"""Tables, principal components and the curves of the other probes' results."""

import json

import numpy as np
import pytest
import xarray as xr

from promptscope.errors import ProbeError
from promptscope.plots import SEQUENTIAL, components, layer_curve, matrix, plot, token_heatmap
from promptscope.plots.shares import grid, lines
from promptscope.probes import ProbeResult, correlate, on_scores, stack_tasks


def states(n=6, layers=3) -> ProbeResult:
    values = np.random.default_rng(0).random((n, layers, 1, 8))
    dims = ("prompt", "layer", "position", "neuron")
    coords = {"prompt": [f"t{i}" for i in range(n)]} | {
        dim: np.arange(size) for dim, size in zip(dims[1:], values.shape[1:], strict=True)
    }
    return ProbeResult("neuron_states", xr.Dataset({"values": (dims, values)}, coords=coords), title="Neurons")


def correlation(seed=0) -> ProbeResult:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(2, 5, 8, 4))
    change = ProbeResult.from_examples({"v1": x[0], "v2": x[1]}, name="kl", title="KL")
    return correlate(change, ProbeResult.from_examples(x[0] + 0.1 * x[1], name="variability", title="V"))


def pca(conditions=("plain", "v1"), layers=5, **coords) -> ProbeResult:
    values = np.random.default_rng(1).normal(size=(len(conditions), layers, 9, 3))
    dims = ("prompt", "layer", "example", "component")
    named = {"prompt": list(conditions), "layer": np.arange(layers), "example": np.arange(9), "component": range(3)}
    shares = np.tile([0.5, 0.3, 0.1], (layers, 1))
    data = {"values": (dims, values), "explained_variance": (("layer", "component"), shares)}
    return ProbeResult("residual_pca", xr.Dataset(data, coords=named | coords), title="PCA")


def test_on_scores_are_drawn_as_curves_and_as_a_table():
    scores = on_scores(states(), {f"t{i}": "en" if i < 3 else "ko" for i in range(6)})
    figure = plot(scores)
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert [line.name for line in lines] == ["en", "ko", "across"]
    np.testing.assert_array_equal(lines[2].y, scores.layer_curve().values.sel(pairs="across"))
    assert "pairs of tasks" in figure.layout.title.text
    table = matrix(scores, "task", "other", layer=1)
    (trace,) = table.data
    np.testing.assert_array_equal(trace.z, scores.values.sel(layer=1))
    assert list(trace.x) == list(trace.y) == [f"t{i}" for i in range(6)]
    assert trace.text[0][0] == "1.00"
    assert tuple(colour for _, colour in table.layout.coloraxis.colorscale) == tuple(SEQUENTIAL)
    assert len(matrix(scores, "task", "other").data) == 3  # a facet for each layer
    with pytest.raises(ProbeError, match=r"no layer 7; there are \[0, 1, 2\]"):
        matrix(scores, "task", "other", layer=7)
    with pytest.raises(ProbeError, match="needs the dimensions"):
        matrix(scores, "task", "head")


def test_correlations_are_marked_where_they_are_significant():
    result = correlation()
    figure = plot(result)
    (trace,) = figure.data
    assert list(trace.y) == ["v1", "v2"] and list(trace.x) == ["0-1", "2-3", "4-5", "6-7"]
    p_values = result.data["p_value"].values
    marked = np.array([[text.endswith("*") for text in row] for row in trace.text])
    np.testing.assert_array_equal(marked, p_values < 0.05)
    assert marked.any() and not marked.all()
    axis = figure.layout.coloraxis
    assert -axis.cmin == axis.cmax == pytest.approx(np.abs(result.values).max())
    both = plot(stack_tasks({"sa": result, "nli": correlation(1)}))
    assert [note.text for note in both.layout.annotations] == ["v1", "v2"]
    assert list(both.data[0].y) == ["sa", "nli"]


def test_an_undefined_cell_is_empty():
    result = correlation()
    result.data["values"][0, 0] = np.nan
    assert plot(result).data[0].text[0][0].strip("*") == ""


def test_components_show_every_point_of_every_layer():
    result = pca()
    figure = plot(result)
    assert len(figure.data) == 2 * 5
    points = result.values.sel(layer=3, prompt="v1")
    trace = figure.data[2 * 3 + 1]
    np.testing.assert_array_equal(trace.x, points[:, 0])
    np.testing.assert_array_equal(trace.y, points[:, 1])
    assert figure.layout.annotations[3].text == "layer 3: 50 %, 30 %"
    assert [trace.name for trace in figure.data if trace.showlegend] == ["plain", "v1"]
    assert len(components(result, layers=[0, 4]).data) == 4
    with pytest.raises(ProbeError, match=r"no layers \[9\]; it has \[0, 1, 2, 3, 4\]"):
        components(result, layers=[9])
    with pytest.raises(ProbeError, match="PCA"):
        components(correlation())
    json.loads(figure.to_json())


def test_components_of_prompts_are_coloured_by_task_and_marked_by_language():
    names = ("sa-en", "sa-ko", "nli-en")
    result = pca(names, layers=1, task=("prompt", ["sa", "sa", "nli"]), language=("prompt", ["en", "ko", "en"]))
    markers = [trace.marker for trace in plot(result).data]
    assert markers[0].color == markers[1].color != markers[2].color
    assert markers[0].symbol == markers[2].symbol != markers[1].symbol


def test_neuron_states_and_gold_words_are_curves():
    words = np.random.default_rng(2).uniform(-1, 1, (10, 2, 4))
    result = ProbeResult.from_examples(
        {"v1": words}, ("word", "layer"), {"word": ["gold", "non-gold"]}, range=(-1.0, 1.0)
    )
    del result.data["curve"], result.data["curve_low"], result.data["curve_high"]
    figure = layer_curve(result)
    assert [line.name for line in figure.data[1::2]] == ["v1, gold", "v1, non-gold"]
    np.testing.assert_array_equal(figure.data[3].y, result.values.sel(prompt="v1", word="non-gold"))


@pytest.mark.parametrize("name, models, ticks", [("loss", 1, 3), ("ratio", 1, 3), ("loss", 8, None), ("ratio", 8, 5)])
def test_a_short_colour_bar_has_few_labels(name: str, models: int, ticks: int | None) -> None:
    numbers = np.random.default_rng(0).random((5, models, 4)) + 0.5
    result = ProbeResult.from_examples(numbers, dims=("model", "token"), units="nats", name=name)
    bar = token_heatmap(result).layout.coloraxis.colorbar
    assert (len(bar.tickvals) if bar.tickvals else bar.nticks) == ticks
    assert not bar.tickvals or len(bar.tickvals) == len(bar.ticktext)


def test_lines_of_an_account_can_be_told_apart_and_no_tick_lies_between_two_layers() -> None:
    curve = ([0, 1, 4], [0.1, 0.2, 0.3], None, None)
    names = ("rank 1", "rank 2", "random prompt", "random direction")
    figure = lines(dict.fromkeys(names, curve), "Shift", "layer", "share of the effect")
    assert len({(line.line.color, line.line.dash) for line in figure.data}) == 4
    assert figure.layout.xaxis.dtick == 1
    many = ([1, 16, 64], [0.1, 0.2, 0.3], None, None)
    assert lines({"greedy": many}, "Kept", "tokens", "share of the effect").layout.xaxis.dtick is None


def test_labels_of_the_colour_bar_of_one_row_do_not_overlap() -> None:
    text = np.full((1, 4), "")
    low = grid(np.ones((1, 4)), range(4), ["layer 0, head 1"], "Paths", "token", "head", text).data[0].colorbar
    high = grid(np.ones((6, 4)), range(4), range(6), "Heads", "head", "layer", np.full((6, 4), "")).data[0].colorbar
    assert (low.nticks, high.nticks) == (3, None)


def test_a_heatmap_of_few_tokens_has_room_for_its_title() -> None:
    numbers = np.random.default_rng(0).random((5, 2, 4))  # inputs, models, tokens
    title = "continent_en_2_model_0: Loss with a token zeroed"
    result = ProbeResult.from_examples(numbers, dims=("model", "token"), units="nats", title=title)
    assert "<br>" not in token_heatmap(result).layout.title.text.split("</b>")[0]
