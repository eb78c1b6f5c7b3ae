"""Records with holes, labels that only look alike, and data sets that are damaged on disk."""

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset, DatasetDict

import promptscope as ps

TEMPLATE = ("Text: {text}\nLabel:", " {label}{eos}")
ABSENT = [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT"), Decimal("nan")]


def rows(*labels: Any) -> list[dict[str, Any]]:
    return [{"text": "x", "label": label} for label in labels * 2]


@pytest.mark.parametrize("value", ABSENT, ids=repr)
def test_no_value_is_no_text(value: Any) -> None:
    with pytest.raises(ps.TaskError, match="has no label"):
        ps.Task.from_records(rows("a", value), TEMPLATE)
    with pytest.raises(ps.TaskError, match=r"references .* must be strings"):
        ps.Task.from_records([{"text": "a", "references": ["b", value]}], TEMPLATE)
    with pytest.raises(ps.TaskError, match=r"Field 'text' of record .* must be text, got (None|nan)"):
        ps.Task.from_records([{"text": value, "label": "a"}], TEMPLATE)
    with pytest.raises(ps.TaskError, match="has no label"):
        ps.Task.from_records(pd.DataFrame(rows("a", value)).convert_dtypes(), TEMPLATE)
    unnamed = [{"id": value, "text": "a", "label": "b"} for _ in range(2)]
    assert [record.id for record in ps.Task.from_records(unnamed, TEMPLATE).split("train")] == ["train-0", "train-1"]


def test_what_is_a_value_stays() -> None:
    day = datetime.date(2020, 1, 2)
    values = [day, Decimal("1.50"), np.datetime64("2020-01-02"), np.int64(3), True, "NaN", "<NA>", "None"]
    task = ps.Task.from_records([{"text": "a", "label": value} for value in values], TEMPLATE)
    labels = [record.label for record in task.split("train")]
    assert labels == ["2020-01-02", "1.50", "2020-01-02", "3", "True", "NaN", "<NA>", "None"]


@pytest.mark.parametrize("twin", ["good ", "good\n", "good\u00a0", "good\u200b", "\ufeffgood", " good"])
def test_labels_that_look_alike(twin: str) -> None:
    with pytest.raises(ps.TaskError, match="differ in white space or invisible characters only"):
        ps.Task.from_records(rows("good", "bad", twin), TEMPLATE)
    named = {"good": "fine", "bad": "poor", twin: "nice"}
    assert ps.Task.from_records(rows("good", "bad", twin), TEMPLATE, named).kind == "classification"
    with pytest.raises(ps.TaskError, match=r"words that look the same|begins with a space"):
        ps.Task.from_records(rows("a", "b"), TEMPLATE, {"a": "good", "b": twin})


def test_words_in_two_spellings() -> None:
    with pytest.raises(ps.TaskError, match="have words that look the same"):
        ps.Verbalizer({"a": "caf\u00e9", "b": "cafe\u0301"})


def test_whole_numbers_and_fractions() -> None:
    """A column of 0 and 1 becomes 0.0 and 1.0 in the split where pandas saw an empty cell."""
    train = pd.DataFrame(rows(0, 1))
    test = pd.DataFrame(rows(0.0, 1.0))
    with pytest.raises(ps.TaskError, match=r"'0' and '0\.0' are the same number"):
        ps.Task.from_records({"train": train, "test": test}, TEMPLATE)
    with pytest.raises(ps.TaskError, match=r"no word for label '0\.0'"):
        ps.Task.from_records({"train": train, "test": test}, TEMPLATE, {0: "no", 1: "yes"})


@pytest.mark.parametrize(
    "make",
    [
        lambda: ps.Task.from_records([{"te\ud800xt": "a", "text": "b", "label": "c"}], TEMPLATE),
        lambda: ps.Template("{text} \ud800", "{label}"),
        lambda: ps.Verbalizer({"a": "\ud800", "b": "c"}),
        lambda: ps.Verbalizer({"\ud800": "b", "b": "c"}),
        lambda: ps.Task.from_records(rows("a", "b"), TEMPLATE, name="\ud800"),
        lambda: ps.Task.from_records({"\ud800": rows("a", "b")}, TEMPLATE),
    ],
)
def test_a_lone_surrogate_is_refused_where_it_is_given(make: Any) -> None:
    with pytest.raises(ps.TaskError, match="not valid Unicode"):
        make()


def test_a_long_cell(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"text,label\n{'a' * 200_000},x\nb,y\n")
    task = ps.Task.from_records(tmp_path / "a.csv", TEMPLATE)
    assert len(task.split("train")[0].text("text")) == 200_000


@pytest.mark.parametrize("file", ["*.arrow", "state.json", "dataset_info.json", "dataset_dict.json"])
@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"[]", b"half", None], ids=repr)
def test_a_damaged_data_set(file: str, content: bytes | None, tmp_path: Path) -> None:
    DatasetDict({"train": Dataset.from_list(rows("a", "b"))}).save_to_disk(tmp_path / "saved")
    assert len(ps.Task.from_records(tmp_path / "saved", TEMPLATE).split("train")) == 4
    (path,) = (tmp_path / "saved").rglob(file)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content == b"half" else content)
    with pytest.raises(ps.TaskError, match=r"is damaged|holds no split"):
        ps.Task.from_records(tmp_path / "saved", TEMPLATE)


def test_a_description_of_a_data_set_with_other_names(tmp_path: Path) -> None:
    DatasetDict({"train": Dataset.from_list(rows("a", "b"))}).save_to_disk(tmp_path)
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["test"]}))
    with pytest.raises(ps.TaskError, match="is damaged"):
        ps.Task.from_records(tmp_path, TEMPLATE)


GOOD = {
    "sst2": {"text": "a film", "label": "positive"},
    "stsb": {"sentence1": "a", "sentence2": "b", "score": 4.0},
    "squad2": {"context": "c x", "question": "q", "answers": {"text": ["x"]}},
    "commongen": {"concepts": ["dog", "run"], "references": ["A dog runs."]},
    "winogrande": {"sentence": "a _ b", "option1": "x", "option2": "y", "label": "1"},
}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("sst2", {"label": "neutral"}, "no word for label 'neutral'; its labels are 'positive', 'negative'"),
        ("sst2", {"text": None}, "'text.sentence.document' must hold text, got None"),
        ("sst2", {"text": ["a", "b"]}, r"must hold text, got \['a', 'b'\]"),
        ("sst2", {"text": "\ud800"}, "'text' of record 'train-1' of split 'train' is not valid Unicode"),
        ("sst2", {"text": {"a": 1}}, "needs a column 'text' or 'sentence' or 'document'"),
        ("winogrande", {"option2": None}, "must hold text, got None"),
        *(
            ("stsb", {"score": score}, "number from 0 to 5, got ")
            for score in ("high", "", [4], True, 7, float("nan"), "4_0", 10**400)
        ),
        ("squad2", {"answers": {"text": [None]}}, "must hold text, got None"),
        ("squad2", {"answers": {"text": [["x"]]}}, r"must hold text, got \['x'\]"),
        ("commongen", {"references": [None]}, "must hold text, got None"),
        *(("commongen", {"concepts": wrong}, "must hold a list of texts") for wrong in ("dog#run", None, 5, [])),
        ("commongen", {"concepts": ["dog", None]}, "must hold text, got None"),
    ],
)
def test_a_row_of_a_known_data_set_is_named_by_its_file_and_line(
    name: str, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Some were tracebacks, others letters for concepts, a class for a score that is no number."""
    rows = [GOOD[name], GOOD[name] | change]
    (tmp_path / "train.jsonl").write_text("\n\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(ps.TaskError, match=rf"train\.jsonl, line 3: .*{message}"):
        ps.load_task(name, tmp_path)


@pytest.mark.parametrize(("name", "column"), [("squad2", "answers"), ("commongen", "references"), ("stsb", "score")])
def test_an_answer_that_is_null_is_a_row_without_a_label(name: str, column: str, tmp_path: Path) -> None:
    rows = [GOOD[name], GOOD[name] | {column: None}]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    task = ps.load_task(name, tmp_path)
    assert len(task.split("train")) == 1 and task.dropped == {"train": 1}


def test_the_line_of_a_record_without_a_label_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": "x"}\n\n{"text": "b"}\n')
    with pytest.raises(ps.TaskError, match=r"a\.jsonl, line 3: Record 'train-1' of split 'train' has no label"):
        ps.Task.from_records(tmp_path / "a.jsonl")
    (tmp_path / "a.csv").write_text("text,label\na,x\nb,\n")
    with pytest.raises(ps.TaskError, match=r"a\.csv, line 3: Record 'train-1'"):
        ps.Task.from_records(tmp_path / "a.csv")
