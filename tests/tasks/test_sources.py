"""Reading rows, and every kind of file or table that cannot be read."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

import promptscope as ps
from promptscope.errors import TaskError
from promptscope.tasks import Task
from promptscope.tasks.records import to_records
from promptscope.tasks.sources import read_source

ROWS = [{"text": "good", "label": "pos"}, {"text": "bad", "label": "neg"}]


def jsonl(path: Path, rows=ROWS) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_lists_frames_and_dicts_of_splits() -> None:
    assert read_source(ROWS) == {"train": ROWS}
    assert read_source(ROWS, split="test") == {"test": ROWS}
    assert read_source(pd.DataFrame(ROWS)) == {"train": ROWS}
    assert read_source({"train": ROWS, "test": pd.DataFrame(ROWS)}) == {"train": ROWS, "test": ROWS}


def test_hugging_face_class_labels_become_names_and_minus_one_no_label() -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    dataset = Dataset.from_dict({"text": ["good", "bad", "odd"], "label": [1, 0, -1]}, features=features)
    rows = [*ROWS, {"text": "odd", "label": None}]
    assert read_source(dataset) == {"train": rows}
    assert read_source(DatasetDict({"test": dataset})) == {"test": rows}


def test_saved_dataset_folder(tmp_path: Path) -> None:
    DatasetDict({"train": Dataset.from_list(ROWS)}).save_to_disk(tmp_path / "d")
    assert read_source(tmp_path / "d") == {"train": ROWS}


def test_files(tmp_path: Path) -> None:
    assert read_source(jsonl(tmp_path / "a.jsonl")) == {"train": ROWS}
    (tmp_path / "a.json").write_text(json.dumps(ROWS))
    assert read_source(str(tmp_path / "a.json")) == {"train": ROWS}
    # a byte order mark, quoted commas and line breaks, and text that pandas would take for missing values
    (tmp_path / "a.csv").write_text('\ufefftext,label\n"good, \n""very""",pos\nNA,neg\n', encoding="utf-8")
    assert read_source(tmp_path / "a.csv") == {
        "train": [{"text": 'good, \n"very"', "label": "pos"}, {"text": "NA", "label": "neg"}]
    }


def test_jsonl_line_separators_inside_strings_are_text(tmp_path: Path) -> None:
    rows = [{"text": "a\u2028b\u0085c\x0bd", "label": "x"}]
    assert read_source(jsonl(tmp_path / "a.jsonl", rows)) == {"train": rows}


def test_folder_of_splits(tmp_path: Path) -> None:
    for name in ("test.jsonl", "dev.jsonl", "train.jsonl"):
        jsonl(tmp_path / name)
    (tmp_path / "META.json").write_text("{}")
    assert list(read_source(tmp_path)) == ["train", "validation", "test"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": 1}\n{oops}\n', r"a\.jsonl, line 2: not JSON"),
        ("a.jsonl", "[1]\n", "line 1: expected an object"),
        ("a.jsonl", "\n\n", "must hold at least one record"),
        ("a.jsonl", "", "must hold at least one record"),
        ("a.json", "{", "not JSON"),
        ("a.json", "{}", "list of objects"),
        ("a.csv", "text,label\na\n", "the row needs 2 cells"),
        ("a.csv", "text,label\na,b,c\n", "the row needs 2 cells"),
        ("a.csv", 'text,label\n"a,b\n', "not CSV|the row needs 2 cells"),
        ("a.csv", "text,label\n", "must hold at least one record"),
        ("a.parquet", "x", r"ending in \.jsonl, \.json, \.csv"),
    ],
)
def test_unreadable_files_say_where_and_what(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(TaskError, match=message):
        read_source(tmp_path / name)


def test_wrong_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('{"text": "영화"}'.encode("euc-kr"))
    with pytest.raises(TaskError, match="must be UTF-8"):
        read_source(tmp_path / "a.jsonl")


def test_missing_file_suggests_a_neighbour(tmp_path: Path) -> None:
    jsonl(tmp_path / "reviews.jsonl")
    with pytest.raises(TaskError, match=r"no file or folder.*mean 'reviews\.jsonl'"):
        read_source(tmp_path / "review.jsonl")


def test_folders_without_or_with_double_splits(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text("{}")
    with pytest.raises(TaskError, match=r"holds no split.*found data\.jsonl"):
        read_source(tmp_path)
    jsonl(tmp_path / "dev.jsonl")
    jsonl(tmp_path / "validation.jsonl")
    with pytest.raises(TaskError, match=r"'validation' twice: dev\.jsonl and validation\.jsonl"):
        read_source(tmp_path)


def test_other_types_are_refused() -> None:
    with pytest.raises(TaskError, match="got int"):
        read_source(3)
    with pytest.raises(TaskError, match="must not be empty"):
        read_source({})


def test_records_number_their_ids_and_keep_other_columns() -> None:
    first, second = to_records([{"text": "a", "label": 1, "n": 2}, {"id": 7, "text": "b", "label": True}], "test")
    assert (first.id, first.label, first.references, dict(first.fields)) == (
        "test-0",
        "1",
        ("1",),
        {"text": "a", "n": 2},
    )
    assert (second.id, second.label) == ("7", "True")


def test_records_take_references() -> None:
    (record,) = to_records([{"text": "q", "references": ["x", "y", "x"]}])
    assert (record.label, record.references) == ("x", ("x", "y"))
    (record,) = to_records([{"text": "q", "label": "z", "references": np.array(["x"])}])
    assert (record.label, record.references) == ("z", ("x",))


def test_numpy_values_become_plain() -> None:
    (record,) = to_records(
        pd.DataFrame({"text": ["a"], "label": [np.int64(3)], "v": [np.float32(0.5)]}).to_dict("records")
    )
    assert record.label == "3"
    assert json.dumps(record.to_json())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "'train' needs at least one record"),
        ([{"text": "a", "label": "x"}, {"text": "b"}], r"'train-1' of split 'train' has no label.*'text'"),
        ([{"id": "r", "text": "a", "label": None}], "'r' of split 'train' has no label"),
        ([{"text": "a", "label": float("nan")}], "has no label"),
        ([{"text": "a", "references": []}], "has no label"),
        ([{"id": 1, "text": "a", "label": "x"}, {"id": "1", "text": "b", "label": "x"}], "0 and 1 .* same id '1'"),
        (["a"], "expected a dict"),
        ([{"text": "a", "references": "x"}], "list of strings"),
        ([{"id": "r", "text": "\ud800", "label": "x"}], "'text' of record 'r' of split 'train' is not valid Unicode"),
    ],
)
def test_bad_records_are_refused(rows: list, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        to_records(rows)


def test_field_that_is_missing_or_no_text() -> None:
    (record,) = to_records([{"id": "r", "text": None, "many": ["a"], "n": 3, "label": "x"}])
    assert record.text("n") == "3"
    with pytest.raises(TaskError, match=r"'question'.*'r' has the fields 'text', 'many', 'n'"):
        record.text("question")
    with pytest.raises(TaskError, match="'text' of record 'r' must be text, got None"):
        record.text("text")
    with pytest.raises(TaskError, match=r"must be text, got \['a'\]"):
        record.text("many")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("twice.csv", "text,label,text\na,b,c\n", "two columns are called 'text'"),
        ("twice.jsonl", '{"text": "a", "label": "b", "text": "c"}\n', "two columns are called 'text'"),
        ("twice.json", '[{"text": "a", "label": "b", "label": "c"}]', "two columns are called 'label'"),
        ("deep.jsonl", "[" * 100_000 + "\n", "nested too deeply"),
        ("surrogate.jsonl", '{"text": "a", "label": "\\ud800"}\n', "'label' of record .* is not valid Unicode"),
        ("inside.jsonl", '{"text": "a", "label": "b", "more": ["\\ud800"]}\n', "'more' of record .* is not valid"),
    ],
)
def test_files_of_which_something_would_be_lost(tmp_path, name, content, message) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(TaskError, match=message):
        Task.from_records(tmp_path / name)


def test_a_cell_may_hold_any_line_separator(tmp_path) -> None:
    text = "one\u2028two\x85three\rfour"
    (tmp_path / "a.csv").write_bytes(f'text,label\n"{text}",yes\nplain,no\n'.encode())
    rows = Task.from_records(tmp_path / "a.csv").split("train")
    assert [row.text("text") for row in rows] == [text, "plain"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a", "label": b"good"}, "'label' of record .* is bytes .*decode it"),
        ({"text": b"a", "label": "good"}, "'text' of record .* is bytes"),
        ({"text": "a", "label": {"name": "good"}}, r"must be one text or number, got .*\(dict\)"),
        ({"text": "a", "label": ["good"]}, r"must be one text or number, got .*\(list\)"),
        ({"text": "a", "references": [["good"]]}, "references of record .* must be strings"),
        ({"text": "a", "label": "good", 1: "x", "1": "y"}, "Two columns of record .* have the same name"),
    ],
)
def test_what_is_no_text_does_not_become_one(row, message) -> None:
    with pytest.raises(TaskError, match=message):
        Task.from_records([row])


def test_a_label_is_the_same_however_its_letters_are_composed() -> None:
    composed, apart = "\uae0d\uc815", "\u1100\u1173\u11bc\u110c\u1165\u11bc"
    rows = [{"text": str(i), "label": label} for i, label in enumerate([composed, apart, "no", "no"])]
    assert Task.from_records(rows).verbalizer.labels == ("no", composed)
    task = Task.from_records(rows, verbalizer={apart: "yes", "no": "no"})
    assert task.verbalizer.word(composed) == "yes"


def test_a_table_in_memory_is_no_path() -> None:
    table = pd.DataFrame({"text": ["a"] * 500, "label": ["b"] * 500})
    with pytest.raises(ps.ArgumentError, match=r"use ps.Task.from_records\(records\)") as error:
        ps.load_task(table)
    assert len(str(error.value)) < 300
    with pytest.raises(TaskError, match="There is no task, file or folder called"):
        ps.load_task("word " * 1000)
    with pytest.raises(TaskError, match="two columns are called 'a'"):
        Task.from_records(pd.DataFrame([["x", "y", "z"]], columns=["a", "a", "label"]))
