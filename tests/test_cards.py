"""What notebooks show of objects: well-formed HTML that says what the object is."""

from html.parser import HTMLParser

import pytest

import promptscope as ps
from promptscope.cards import curve


class Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs) -> None:
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        pass

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += f" {data}"


def shown(thing) -> str:
    parser = Balanced()
    parser.feed(thing._repr_html_())
    assert not parser.open
    return parser.text


@pytest.mark.parametrize("name", ["embedded-causal", "embedded-seq2seq", "embedded-masked-0"])
def test_models(name: str) -> None:
    model = ps.load_model(name)
    text = shown(model)
    assert name in text and type(model.twin).__name__ in text and str(model.shape.d_model) in text


def test_prompts_tasks_runs_and_results() -> None:
    model, task = ps.load_model("embedded-causal"), ps.load_task("continent_en")
    assert "parameters none yet" in shown(ps.SoftPrompt(3))
    run = ps.train(model, ps.DeepPrompt(3), task, ps.TrainConfig(steps=3, batch_size=4), progress=False)
    assert "3 steps" in shown(run.prompt) and "DeepPrompt" in shown(run.prompt)
    assert "continent_en" in shown(task) and "accuracy" in shown(task) and "train 300" in shown(task)
    assert "<polyline" in run._repr_html_() and "continent_en" in shown(run)
    found = ps.probe(model, {"a <b>: c": run.prompt}, task, "attention_mass", limit=2, progress=False)
    text = shown(found["attention_mass"])
    assert "a <b>: c" in text and "share of attention" in text and "mean" in text


def test_a_curve_falls_from_the_top_left() -> None:
    points = curve([4.0, 3.0, 2.0]).split('points="')[1].split('"')[0].split()
    heights = [float(point.split(",")[1]) for point in points]
    assert heights == sorted(heights) and float(points[0].split(",")[0]) == 0.0
    assert curve([1.0]) == ""
