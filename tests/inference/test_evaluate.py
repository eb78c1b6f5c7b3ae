"""Metrics and loss of a split, against records taken one by one."""

import pytest
import torch

import promptscope as ps
from promptscope.inference.evaluate import _find
from tests.tiny_models import FAMILIES
from tests.training import references
from tests.training.toy import LONG_WORD, WORD, toy_model, toy_rows, toy_task, toy_truth, writing_task


@pytest.mark.parametrize("with_prompt", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_classification(family: str, with_prompt: bool) -> None:
    model, truth, rows = toy_model(family), toy_truth(family), toy_rows()
    prompt = ps.SoftPrompt(3, seed=1).bind(model) if with_prompt else None
    vectors = prompt.embedding.detach() if prompt is not None else None
    scores = ps.evaluate(model, prompt, toy_task(), batch_size=4, progress=False)
    chosen = []
    for row in rows:
        by_label = {
            label: references.label_score(truth, family, row["text"], word, vectors) for label, word in WORD.items()
        }
        chosen.append(max(by_label, key=by_label.__getitem__))
    accuracy = sum(label == row["label"] for label, row in zip(chosen, rows, strict=True)) / len(rows)
    assert list(scores) == ["accuracy", "macro_f1", "loss", "n"]
    assert scores["accuracy"] == pytest.approx(accuracy)
    assert scores["loss"] == pytest.approx(references.loss(truth, family, rows, vectors).item(), rel=1e-5)
    assert scores["n"] == 10
    assert ps.predict(model, prompt, toy_task(), progress=False) == chosen


def test_several_tokens_and_a_limit() -> None:
    model, task = toy_model("gpt2"), toy_task(LONG_WORD)
    best = ps.score_labels(model, None, task, limit=7, progress=False).argmax(dim=1)
    scores = ps.evaluate(model, None, task, limit=7, progress=False)
    assert scores["n"] == 7
    right = [task.split("test")[i].label == ("good", "bad")[best[i]] for i in range(7)]
    assert scores["accuracy"] == pytest.approx(sum(right) / 7)


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_generation_learns_and_is_scored_on_its_text(family: str) -> None:
    model, task = toy_model(family), writing_task()
    prompt = ps.DeepPrompt(8, seed=1)
    config = ps.TrainConfig(steps=25, batch_size=3, learning_rate=0.5)
    ps.train(model, prompt, task, config, progress=False)
    texts = ps.predict(model, prompt, task, progress=False)
    assert ps.predict(model, prompt, task, batch_size=1, progress=False) == texts
    scores = ps.evaluate(model, prompt, task, progress=False)
    assert list(scores) == ["exact_match", "loss", "n"]
    assert scores["exact_match"] == pytest.approx(texts.count("very film") / 3)
    assert scores["exact_match"] > ps.evaluate(model, None, task, progress=False)["exact_match"] == 0
    # What was generated for one record is what greedy decoding says of its tokens.
    text = references.text_ids("a film is")
    row = [1, *text, 2] if family == "gpt2" else [*text, 2]
    (new,) = ps.generate(model, prompt, torch.tensor([row]), max_new_tokens=4, stop_ids=[2])
    assert model.tokenizer.decode(new) == texts[0]
    assert ps.predict(model, prompt, task, max_new_tokens=1, progress=False)[0] == texts[0].split()[0]


def test_an_end_of_several_tokens_ends_the_text_only_as_a_whole() -> None:
    model = toy_model("gpt2")
    rows = [{"text": text, "label": "very film"} for text in ("a story", "the film is good")]
    template = ps.Template("{bos}{text}{sep}", "{label}{eos}", specials={"eos": "is very"})
    task = ps.Task.from_records({"train": rows, "test": rows}, template=template, metric="exact_match")
    prompt = ps.DeepPrompt(8, seed=1)
    ps.train(model, prompt, task, ps.TrainConfig(steps=25, batch_size=4, learning_rate=0.2), progress=False)
    # "very" is one of the end's tokens, and opens the answer all the same.
    assert ps.predict(model, prompt, task, max_new_tokens=6, progress=False) == ["very film"] * 2


def test_where_an_end_begins() -> None:
    assert [_find([5, 7, 8], [7, 8]), _find([7, 8, 7, 8], [7, 8])] == [1, 0]
    assert [_find([5, 7], [7, 8]), _find([5, 7], [])] == [2, 2]  # not there: all of it


def test_the_length_of_texts_does_not_come_from_the_right_answers() -> None:
    """Longer test answers must not make longer texts: how long they may be, the training split says."""
    model = toy_model("gpt2")
    rows = [{"text": text, "label": "a film"} for text in ("a story", "the film is good")]
    long = [{"text": "a story", "label": "the film is very good " * 3}]
    tasks = {
        name: ps.Task.from_records({"train": rows, "test": test}, metric="exact_match")
        for name, test in (("short", rows[:1]), ("long", long))
    }
    texts = {name: ps.predict(model, None, task, progress=False) for name, task in tasks.items()}
    assert texts["long"] == texts["short"]
    assert tasks["long"].answer_length(model.tokenizer, "causal", "train") == 3  # its end too
    assert tasks["long"].answer_length(model.tokenizer, "causal", "test") == 16
    alone = ps.Task.from_records({"test": long}, metric="exact_match")  # nothing to train on: this split's own
    assert len(ps.predict(model, None, alone, progress=False)[0].split()) > len(texts["long"][0].split())


def test_new_tokens_need_room() -> None:
    with pytest.raises(ps.TaskError, match="max_new_tokens"):
        ps.predict(toy_model("gpt2"), ps.SoftPrompt(4), writing_task(), max_new_tokens=60, progress=False)
    rows = [{"text": "the story is " * 40, "label": "the film"}, {"text": "a film", "label": "a"}]
    task = ps.Task.from_records({"test": rows}, metric="exact_match")
    assert len(ps.predict(toy_model("gpt2"), ps.SoftPrompt(20), task, progress=False)) == 2


def test_unknown_split_and_no_labels() -> None:
    with pytest.raises(ps.TaskError, match="no split 'dev'"):
        ps.evaluate(toy_model("gpt2"), None, toy_task(), split="dev", progress=False)
    with pytest.raises(ps.TaskError, match="verbalizer"):
        ps.evaluate(toy_model("bert"), None, writing_task(), progress=False)
