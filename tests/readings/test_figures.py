"""Figures of readings and geometry show the numbers of their results and say what is more."""

import json

import numpy as np
import pandas as pd
import pytest

from promptscope import SoftPrompt
from promptscope.errors import ProbeError
from promptscope.plots import group_distances_figure, projection_figure
from promptscope.readings import (
    DescribePrompt,
    Nulls,
    class_rate,
    read_logit_lens,
    read_nearest_tokens,
    read_patchscope,
)
from promptscope.statistics import pca_projection, tsne_projection
from tests.readings.lively import lively

DESCRIBE = DescribePrompt((("film", "a story"),), placeholder=" very", separator=" is")


@pytest.fixture(scope="module")
def model():
    return lively("llama")


@pytest.fixture(scope="module")
def nulls(model):
    return Nulls(random=5, untrained=SoftPrompt(3, seed=7))


def test_nearest_tokens_show_every_vector_of_every_kind_and_the_vocabulary(model, nulls):
    reading = read_nearest_tokens(model, SoftPrompt(3), n=2, nulls=nulls)
    figure = reading.plot()
    assert [trace.name for trace in figure.data] == ["prompt", "random, same norms", "untrained", "vocabulary"]
    first = reading.per_position()
    for trace, kind in zip(figure.data, ("prompt", "random", "untrained"), strict=False):
        np.testing.assert_array_equal(trace.y, first[first["kind"] == kind]["distance"])
    np.testing.assert_array_equal(figure.data[-1].y, reading.reference)
    own = reading.table.query("kind == 'prompt' and position == 1")["token"].tolist()
    assert figure.data[0].text[1] == ", ".join(map(repr, own))
    assert "lower = nearer" in figure.layout.title.text


def test_logit_lens_shows_the_table_against_null(model, nulls):
    lens = read_logit_lens(model, SoftPrompt(3), label_words=["good"], nulls=nulls)
    for quantity in lens.quantities:
        figure = lens.plot(quantity)
        table = lens.against_null().query("quantity == @quantity")
        lines = {trace.name: trace for trace in figure.data if trace.name}
        assert list(lines) == ["prompt", "random, same norms", "untrained"]
        np.testing.assert_array_equal(lines["prompt"].y, table["value"])
        np.testing.assert_array_equal(lines["random, same norms"].y, table["random"])
        np.testing.assert_array_equal(lines["untrained"].y, table["untrained"])
        grey = figure.data[0]
        np.testing.assert_array_equal(grey.y, [*table["random_high"], *table["random_low"][::-1]])
        assert lines["prompt"].x[0] == -1
    with pytest.raises(ProbeError, match=r"got 'label_mass'.*needs label_words"):
        read_logit_lens(model, SoftPrompt(3), nulls=Nulls(random=1)).plot("label_mass")


def test_one_position_has_no_band_of_its_own(model):
    figure = read_logit_lens(model, SoftPrompt(1), nulls=Nulls(random=0)).plot()
    assert [trace.name for trace in figure.data] == ["prompt"]


def test_lens_tokens_stand_in_their_cells(model, nulls):
    lens = read_logit_lens(model, SoftPrompt(3), n=2, nulls=nulls)
    cells = lens.plot_tokens().data[0]
    own = lens.top[lens.top["kind"] == "prompt"]
    for row, layer in enumerate(cells.y):
        for column, position in enumerate(cells.x):
            best = own[(own["layer"] == layer) & (own["position"] == position)]
            assert cells.text[row][column] == best["token"].iloc[0]
            assert cells.z[row][column] == best["probability"].iloc[0]
            assert all(repr(token) in cells.customdata[row][column] for token in best["token"])


def test_patchscope_grids_share_a_scale_and_show_texts(model, nulls):
    scores = {"rate": class_rate(["good", "great", "bad"]), "other": len}
    reading = read_patchscope(model, SoftPrompt(3), scores=scores, describe=DESCRIBE, max_new_tokens=4, nulls=nulls)
    figure = reading.plot()
    grids = reading.data["rate"]
    assert len(figure.data) == 3 and {trace.coloraxis for trace in figure.data} == {"coloraxis"}
    np.testing.assert_allclose(figure.data[0].z, grids.sel(of="prompt"))
    np.testing.assert_allclose(figure.data[1].z, grids.sel(of=grids["kind"] == "random").mean("of"))
    text = reading.texts.query("of == 'prompt' and source == 1 and target == 0")["text"].item()
    row, column = list(figure.data[0].y).index(1), list(figure.data[0].x).index(0)
    assert figure.data[0].customdata[row][column] == text
    assert "Patchscopes: other" in reading.plot("other").layout.title.text
    with pytest.raises(ProbeError, match="no score 'f1' to draw"):
        reading.plot("f1")


def test_projection_colours_by_label_and_says_its_quality():
    x = np.random.default_rng(0).normal(size=(24, 6))
    labels = pd.DataFrame({"task": [f"t{i % 6}" for i in range(24)], "word": [f"w{i // 6}" for i in range(24)]})
    projection = tsne_projection(x)
    figure = projection_figure(projection, labels, "word", hover=["task", "word"])
    assert [trace.name for trace in figure.data] == ["w0", "w1", "w2", "w3"]
    np.testing.assert_array_equal(figure.data[1].x, projection.points[6:12, 0])
    assert figure.data[1].text[0] == "task: t0<br>word: w1"
    assert f"trustworthiness {projection.trustworthiness:.2f}" in figure.layout.title.text
    share = f"{100 * pca_projection(x).explained_variance[0]:.0f} %"
    assert share in projection_figure(pca_projection(x), labels, "task").layout.title.text
    with pytest.raises(ValueError, match=r"24 rows and the columns \['seed'"):
        projection_figure(projection, labels, "seed")


def test_many_labels_stay_apart():
    labels = pd.DataFrame({"word": [f"w{i}" for i in range(12)]})
    figure = projection_figure(pca_projection(np.random.default_rng(0).normal(size=(12, 3))), labels, "word")
    assert len({(trace.marker.color, trace.marker.symbol) for trace in figure.data}) == 12


def test_group_distances_draw_groups_and_references():
    groups = {"position": {0: 0.7, 1: 0.6}, "word": {"cat": 0.5, "dog": 0.4, "bird": 0.3}}
    figure = group_distances_figure(groups, {"random tokens": 0.9})
    assert [list(trace.y) for trace in figure.data[:2]] == [[0.7, 0.6], [0.5, 0.4, 0.3]]
    assert [shape.y0 for shape in figure.layout.shapes] == [0.9, 0.9]
    assert [trace.name for trace in figure.data if trace.type == "scatter"] == ["random tokens"]
    assert "random tokens 0.9" in figure.layout.title.text
    json.loads(figure.to_json())


@pytest.mark.parametrize("n", [3, 12, 24, 40])
def test_group_distances_fit_a_window_800_pixels_wide(n):
    groups = {"position": dict.fromkeys(range(8), 0.7), "word": dict.fromkeys(range(n), 0.5)}
    assert group_distances_figure(groups, {"random tokens": 0.9}).layout.width <= 740
