"""Figures show the result's numbers, say what they are, and use one scale for all facets."""

import colorsys
import itertools
import json
from dataclasses import replace

import numpy as np
import plotly.io as pio
import pytest
import xarray as xr

from promptscope.errors import ProbeError
from promptscope.plots import CATEGORICAL, SEQUENTIAL, heatmap, layer_curve, plot
from promptscope.probes import ProbeResult


def make(prompts=("v1", "v2"), layers=5, heads=3, **about) -> ProbeResult:
    generator = np.random.default_rng(0)
    examples = {name: generator.gamma(1.0, scale=1 + i, size=(20, layers, heads)) for i, name in enumerate(prompts)}
    about = {"range": (0.0, None), "n_skipped": 4} | about
    return ProbeResult.from_examples(
        examples, name="attention_kl", title="Attention KL", units="nats", direction="higher = more", **about
    )


def test_heat_map_shows_the_numbers_one_facet_per_prompt():
    result = make()
    figure = heatmap(result)
    assert [trace.type for trace in figure.data] == ["heatmap", "heatmap"]
    for trace, prompt in zip(figure.data, ("v1", "v2"), strict=True):
        np.testing.assert_array_equal(trace.z, result.values.sel(prompt=prompt))
        assert trace.coloraxis == "coloraxis"
        cell = result.data.sel(prompt=prompt, layer=2, head=1)
        assert trace.text[2][1] == f"{float(cell['values']):.4g} [{float(cell['low']):.4g}, {float(cell['high']):.4g}]"
    assert [note.text for note in figure.layout.annotations] == ["v1", "v2"]
    assert figure.layout.coloraxis.cmin == 0
    assert figure.layout.coloraxis.cmax == pytest.approx(float(result.values.max()))


def test_titles_say_units_direction_and_inputs():
    figure = heatmap(make())
    for text in ("Attention KL", "higher = more", "20 inputs", "4 skipped"):
        assert text in figure.layout.title.text
    assert figure.layout.coloraxis.colorbar.title.text == "nats"
    curve = layer_curve(make())
    assert "mean over heads" in curve.layout.title.text and curve.layout.yaxis.title.text == "nats"


def test_a_long_title_is_wrapped_and_many_lines_are_named_below_the_axis():
    short, long = layer_curve(make()), layer_curve(replace(make(), title="Attention KL of a model " * 6))
    assert long.layout.title.text.count("<br>") > short.layout.title.text.count("<br>")
    assert long.layout.margin.t > short.layout.margin.t
    values = np.random.default_rng(0).random((20, 3, 4))
    many = layer_curve(ProbeResult.from_examples({f"a prompt of task {i}": values + i for i in range(9)}))
    assert short.layout.legend.y is None and many.layout.legend.y < 0
    margin, inner = many.layout.margin, many.layout.height - many.layout.margin.t - many.layout.margin.b
    assert -many.layout.legend.y * inner == pytest.approx(short.layout.margin.b)  # right below the axis title
    assert margin.b - short.layout.margin.b >= 2 * 22  # two lines of it have room
    inner = [f.layout.height - f.layout.margin.t - f.layout.margin.b for f in (short, many)]
    assert inner[0] == inner[1]  # room is made, none is taken from the curves
    bands = [trace for trace in many.data if trace.fill == "toself"]
    assert len(bands) == 9 and {trace.mode for trace in bands} == {"lines"}  # with few layers, Plotly draws dots


def test_one_input_is_no_inputs_and_none_is_not_counted():
    heads = np.zeros((1, 2, 3))
    assert "1 input<" in layer_curve(ProbeResult.from_examples(heads)).layout.title.text
    none = ProbeResult("x", ProbeResult.from_examples(heads).data, direction="near = alike")
    assert "input" not in layer_curve(none).layout.title.text


def test_differences_are_coloured_about_zero_and_carry_p_values():
    difference = make().compare("v1", "v2")
    figure = plot(difference)
    axis = figure.layout.coloraxis
    assert -axis.cmin == axis.cmax == pytest.approx(float(np.abs(difference.values).max()))
    assert "p = " in figure.data[0].text[0][0]


def test_magnitudes_are_coloured_from_zero_by_the_sequential_scale():
    axis = heatmap(make(range=(0.0, None))).layout.coloraxis
    assert tuple(colour for _, colour in axis.colorscale) == tuple(SEQUENTIAL)
    assert axis.cmin == 0.0


def test_lines_are_told_apart_by_colour_and_dash():
    """Prompts by colour, the groups of a prompt by dash: every line has a look of its own."""
    one = ProbeResult.from_examples({name: np.random.default_rng(0).random((4, 3)) for name in "abcd"}, dims=("layer",))
    data = xr.concat([one.data, one.data], dim="group").assign_coords(group=["en", "ko"])
    data = data.drop_dims("example").transpose("prompt", "group", ...)
    lines = [trace.line for trace in layer_curve(replace(one, data=data)).data if trace.fill != "toself"]
    assert len(lines) == len({(line.color, line.dash) for line in lines}) == 8
    assert lines[0].color == lines[1].color and lines[0].dash != lines[1].dash  # one prompt, two groups
    assert lines[0].color != lines[2].color and lines[0].dash == lines[2].dash
    many = ProbeResult.from_examples({str(i): np.random.default_rng(0).random((4, 3)) for i in range(20)}, ("layer",))
    lines = [trace.line for trace in layer_curve(many).data if trace.fill != "toself"]
    assert len({(line.color, line.dash) for line in lines}) == 20


def test_layer_curve_shows_mean_and_band():
    result = make()
    curve = result.layer_curve()
    figure = layer_curve(result)
    bands, lines = figure.data[::2], figure.data[1::2]
    for line, band, prompt in zip(lines, bands, ("v1", "v2"), strict=True):
        data = curve.data.sel(prompt=prompt)
        np.testing.assert_array_equal(line.y, data["values"])
        np.testing.assert_array_equal(band.y, np.concatenate([data["high"], data["low"][::-1]]))
        assert line.name == prompt and line.line.color == CATEGORICAL[("v1", "v2").index(prompt)]
    assert figure.layout.yaxis.rangemode == "tozero"
    assert plot(curve).to_json() == figure.to_json()


def test_one_example_has_no_band():
    result = ProbeResult.from_examples({"v1": np.ones((1, 4, 2))})
    assert len(layer_curve(result).data) == 1


def test_many_prompts_wrap_and_lines_stay_apart():
    result = make(prompts=tuple(f"p{i}" for i in range(9)), layers=24, heads=16)
    figure = heatmap(result)
    assert len(figure.data) == 9
    assert {trace.yaxis for trace in figure.data} == {"y", *(f"y{i}" for i in range(2, 10))}
    styles = {(line.line.color, line.line.dash) for line in layer_curve(result).data if line.mode == "lines+markers"}
    assert len(styles) == 9


def test_what_has_no_layers_is_refused():
    with pytest.raises(ProbeError, match=r"has prompt, position.*to_dataframe"):
        heatmap(ProbeResult.from_examples({"v1": np.ones((3, 2))}, dims=("position",)))


def test_figures_are_plain_json_and_the_default_template_is_left_alone():
    json.loads(heatmap(make()).to_json())
    assert pio.templates.default == "plotly"
    assert "promptscope" in pio.templates


def test_the_sequential_scale_gets_evenly_darker():
    lightness = [
        colorsys.rgb_to_hls(*(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)))[1] for colour in SEQUENTIAL
    ]
    assert all(a > b for a, b in itertools.pairwise(lightness))
