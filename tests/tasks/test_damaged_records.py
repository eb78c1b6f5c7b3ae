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
