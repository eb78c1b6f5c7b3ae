"""All parts on every architecture: each speaks or says in a line why it does not; no figure is empty."""

import numpy as np
import pytest
import torch

import promptscope as ps
from promptscope.account import Settings
from promptscope.account.figures import figures_of
from tests.models.zoo import NAMES, REFUSED, make
from tests.tiny_tokenizer import tiny_tokenizer

SETTINGS = Settings(limit=8, few=6, layers=2, n_random=1, shots=1, batch_size=4)
GOOD = ("the film is very good", "a great story", "a good story", "the great film", "very good", "a very great film")
BAD = ("the story is bad", "a very dull film", "the film is dull", "bad story", "the film is a very dull story")
TEMPLATES = {
    "causal": ps.Template("{text} is", "{label}{eos}"),
    "masked": ps.Template("{text} {mask}", "{label}"),
    "seq2seq": ps.Template("{text}{eos}", "{label}{eos}"),
}


def toy_task(kind: str) -> ps.Task:
    records = {
        "train": [
            {"text": text, "label": name} for name, texts in (("positive", GOOD), ("negative", BAD)) for text in texts
        ],
        # One label more often than the other: what a random prompt does to it then has a sign.
        "test": [{"text": text, "label": "positive"} for text in (*GOOD, BAD[0])]
        + [{"text": BAD[1], "label": "negative"}],
    }
    words = {"positive": "positive", "negative": "negative"}
    return ps.Task.from_records(records, TEMPLATES[kind], words, "accuracy", name="toy")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::promptscope.engine.choice.PackingWarning")
@pytest.mark.parametrize("kind", ["v1", "v2"])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in REFUSED])
def test_every_part_speaks_or_says_why_not(name, kind):
    model = ps.load_model(make(name), tokenizer=tiny_tokenizer())
    prompt = (ps.SoftPrompt(3, init="vocab") if kind == "v1" else ps.DeepPrompt(3)).bind(model)
    with torch.no_grad():
        for parameter in prompt.parameters():
            parameter.mul_(3)  # so that it has an effect
    account = ps.explain(model, prompt, toy_task(model.family.kind), instruction="the film", settings=SETTINGS)
    for part in account.parts.values():
        assert part.sentences or part.omitted, part.key
        for figure, caption in figures_of(part):
            numbers = [trace.z if trace.type == "heatmap" else trace.y for trace in figure.data if trace.y is not None]
            assert caption and any(np.size(each) for each in numbers), (part.key, figure.layout.title.text)
    assert not account["routes"].is_empty and not account["answers"].is_empty
    assert "What this page does not show" in account.page().html()
