"""The Task itself: what it is made of, how it is split, hashed and scored."""

import pandas as pd
import pytest

from promptscope.errors import TaskError
from promptscope.tasks import Task, Template

ROWS = [{"text": f"film {i}", "label": "pos" if i % 2 else "neg"} for i in range(10)]
WORDS = {"pos": "positive", "neg": "negative"}


def test_made_of_parts() -> None:
    task = Task.from_records(pd.DataFrame(ROWS), "input_label", WORDS, "accuracy", name="films", language="en")
    assert (task.name, task.kind, task.metrics, task.language) == ("films", "classification", ("accuracy",), "en")
    assert [record.id for record in task.split("train")][:2] == ["train-0", "train-1"]
    assert task.verbalizer is not None and task.verbalizer.word("pos") == "positive"
    assert repr(task) == "Task('films', classification, template 'input_label', train: 10)"


@pytest.mark.parametrize(
    ("labels", "metric", "kind", "metrics"),
    [
        (["a", "b", "a", "b"], None, "classification", ("accuracy", "macro_f1")),
        (["a", "b", "c", "c"], None, "generation", ("exact_match",)),  # one label only once
        (["a"] * 4, None, "generation", ("exact_match",)),
        ([str(i // 2) for i in range(42)], None, "generation", ("exact_match",)),  # 21 labels
        (["a", "b", "a", "b"], "starts_with", "generation", ("starts_with",)),
        (["a", "b", "c", "d"], "accuracy", "classification", ("accuracy",)),
    ],
)
def test_kind_without_a_verbalizer(labels: list[str], metric: str | None, kind: str, metrics: tuple) -> None:
    task = Task.from_records([{"text": "x", "label": label} for label in labels], metric=metric)
    assert (task.kind, task.metrics) == (kind, metrics)
    if kind == "classification":
        assert task.verbalizer is not None and set(task.verbalizer.labels) == set(labels)


def test_unknown_split_lists_those_that_exist() -> None:
    task = Task.from_records({"train": ROWS, "test": ROWS[:4]}, verbalizer=WORDS)
    with pytest.raises(TaskError, match=r"no split 'validation'; it has train \(10\), test \(4\).*with_splits"):
        task.split("validation")
    with pytest.raises(TaskError, match="mean 'test'"):
        task.split("tset")


def test_with_splits_moves_records_and_is_seeded() -> None:
    task = Task.from_records(ROWS, verbalizer=WORDS)
    cut = task.with_splits(validation=0.1, test=0.25, seed=3)
    assert {name: len(records) for name, records in cut.splits.items()} == {"train": 6, "validation": 1, "test": 3}
    everything = [record for records in cut.splits.values() for record in records]
    assert sorted(everything, key=lambda r: r.id) == sorted(task.split("train"), key=lambda r: r.id)
    assert cut == task.with_splits(validation=0.1, test=0.25, seed=3)
    assert cut != task.with_splits(validation=0.1, test=0.25, seed=4)
    assert len(task.split("train")) == 10


def test_with_splits_refuses_what_cannot_be() -> None:
    task = Task.from_records({"train": ROWS, "test": ROWS}, verbalizer=WORDS)
    for shares in ({}, {"validation": 1.0}, {"validation": -0.1}, {"validation": 0.95}):
        with pytest.raises(TaskError, match="Cannot take"):
            task.with_splits(**shares)
    with pytest.raises(TaskError, match="already has the split 'test'"):
        task.with_splits(test=0.2)


def test_data_hash_depends_on_records_template_and_words_only() -> None:
    task = Task.from_records(ROWS, verbalizer=WORDS)
    same = Task.from_records(pd.DataFrame(ROWS), verbalizer=dict(WORDS), metric="accuracy", name="other")
    assert task.data_hash("train") == same.data_hash("train")
    others = [
        Task.from_records(ROWS[:-1], verbalizer=WORDS),
        Task.from_records([*ROWS[:-1], {"text": "film 9", "label": "neg"}], verbalizer=WORDS),
        Task.from_records(ROWS, "input_label", WORDS),
        Task.from_records(ROWS, Template("{bos}{text}{sep}", "{label}{eos}", specials={"sep": ";"}), WORDS),
        Task.from_records(ROWS, verbalizer={**WORDS, "neg": "bad"}),
    ]
    assert len({t.data_hash("train") for t in [task, *others]}) == 6


def test_score_merges_metrics_and_takes_the_first_records() -> None:
    task = Task.from_records(ROWS, verbalizer=WORDS)
    assert task.score(["neg", "pos", "neg", "neg"], "train") == {"accuracy": 0.75, "macro_f1": pytest.approx(11 / 15)}
    assert task.score(["neg"], "train", ["accuracy"]) == {"accuracy": 1.0}
    with pytest.raises(TaskError, match="one prediction for each"):
        task.score([], "train")
    with pytest.raises(TaskError, match="got 11 for 10"):
        task.score(["neg"] * 11, "train")


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TaskError, match=r"needs the field 'text1'.*has the fields 'text'"):
        Task.from_records(ROWS, "pair", WORDS)
    with pytest.raises(TaskError, match=r"'train-1' of task 'custom'.*no word for label 'pos'.*'neg'"):
        Task.from_records(ROWS, verbalizer={"neg": "negative"})
    with pytest.raises(TaskError, match="mean 'accuracy'"):
        Task.from_records(ROWS, verbalizer=WORDS, metric="acuracy")
    with pytest.raises(TaskError, match="compares labels"):
        Task("x", Template("{text}", "{label}"), None, ("accuracy",), Task.from_records(ROWS).splits)
    with pytest.raises(TaskError, match="' positive' also begins with a space"):
        Task.from_records(ROWS, "input_label", {"pos": " positive", "neg": "negative"})
    with pytest.raises(TaskError, match="at least one split"):
        Task("x", Template("{text}", "{label}"), None, ("exact_match",), {})
    with pytest.raises(TaskError, match="at least one record"):
        Task.from_records([])
    with pytest.raises(TaskError, match="no label words"):
        Task.from_records(ROWS, metric="exact_match").label_ids(None, "causal")


def test_label_ids_have_the_templates_space(gpt2) -> None:
    ids = {t: Task.from_records(ROWS, t, WORDS).label_ids(gpt2, "causal")["pos"] for t in ("single", "input_label")}
    assert ids["single"] == gpt2("positive")["input_ids"]
    assert ids["input_label"] == gpt2(" positive")["input_ids"]


def test_max_length_of_the_task_is_the_default(mgpt) -> None:
    long = [{"text": "the movie " * 50, "label": label} for label in ("pos", "neg")]
    task = Task.from_records(long, verbalizer=WORDS, max_length=20)
    assert max(len(record.input_ids) for record in task.encode(mgpt, "causal", "train")) <= 20
    assert len(task.encode(mgpt, "causal", "train", max_length=30)[0].input_ids) > 20
    assert task.encode(mgpt, "causal", "train").n_truncated == 2
