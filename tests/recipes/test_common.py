"""What recipes share: numbers beside numbers, explanations that are put to the test, presets, the results folder."""

import argparse
import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import ClassVar

import pandas as pd
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

import promptscope as ps
from recipes.common import (
    Explanation,
    PublishedError,
    Results,
    add_preset_options,
    chosen_settings,
    compare,
    explain,
    read_published,
)
from recipes.common.published import rounded

HEAD = "table,row,column,published\n"


def published(tmp_path: Path, *lines: str) -> pd.DataFrame:
    path = tmp_path / "published.csv"
    path.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    return read_published(path)


def test_a_cell_is_equal_differs_is_absent_or_unpublished(tmp_path: Path) -> None:
    numbers = published(tmp_path, "1,a,x,0.35", "1,a,y,0.350", "1,b,x,-1.2", "1,b,y,7")
    frame = compare(numbers, {("a", "x"): 0.3549, ("a", "y"): 0.3549, ("b", "x"): -1.25, ("c", "z"): 0.1})
    assert frame["status"].tolist() == ["equal", "differs", "differs", "absent", "unpublished"]
    assert frame["computed"].tolist() == ["0.35", "0.355", "-1.3", "", "0.100000"]
    assert frame["difference"].tolist() == ["0.00", "0.005", "-0.1", "", ""]
    assert frame["exact"][1] == 0.3549


def test_papers_that_print_no_trailing_zeros_need_decimals(tmp_path: Path) -> None:
    numbers = published(tmp_path, "1,a,x,0.35")
    assert compare(numbers, {("a", "x"): 0.3549}, decimals=3)["difference"].tolist() == ["0.005"]
    assert compare(numbers, {("a", "x"): 0.3501}, decimals=3)["status"].tolist() == ["equal"]


def test_no_number_is_no_agreement(tmp_path: Path) -> None:
    frame = compare(published(tmp_path, "1,a,x,0.35"), {("a", "x"): float("nan")})
    assert frame["status"].tolist() == ["differs"]


@given(st.integers(-10_000, 10_000), st.integers(0, 4))
def test_rounding_is_half_up_in_decimals(n: int, decimals: int) -> None:
    exact = Decimal(n) / Decimal(10_000)
    sign = -1 if n < 0 else 1
    by_hand = sign * (abs(exact) * 10**decimals + Decimal("0.5")).to_integral_value("ROUND_FLOOR") / 10**decimals
    assert rounded(n / 10_000, decimals) == by_hand


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("row,column,published\na,x,1\n", "expected the columns table, row, column, published"),
        (HEAD + "1,a,x,1\n1,a,x,2\n", "twice: table 1 / a / x"),
        (HEAD + "1,a,x,0.3 ± 0.1\n", "0.3 ± 0.1"),
        (HEAD + "1,a,x,\n", "1 / a / x"),
        (HEAD + "1,a,x,nan\n", "nan"),
    ],
)
def test_damaged_published_numbers_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "published.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PublishedError, match=said):
        read_published(path)
    with pytest.raises(PublishedError, match=r"nowhere\.csv"):
        read_published(tmp_path / "nowhere.csv")


def test_an_explanation_is_believed_only_if_its_number_is_the_printed_one(tmp_path: Path) -> None:
    numbers = published(tmp_path, "1,a,x,0.203", "1,a,y,0.2", "1,b,x,9.9", "1,b,y,1.0", "1,c,x,5.0")
    computed = {("a", "x"): 0.2039, ("a", "y"): 0.2049, ("b", "x"): 1.0, ("b", "y"): 1.0, ("c", "x"): 1.0}
    reasons = [
        Explanation("cut", "cut", lambda cell, exact: int(exact * 1000) / 1000),
        Explanation("misprint", "so it is", stated={("1", "c", "x"): 1.0}),
        Explanation("not this one", "no", lambda cell, exact: None),
    ]
    explained = explain({"1": compare(numbers, computed, decimals=3)}, reasons)
    # 0.2049 cut is 0.204, which "0.2" is only at the decimals it was printed with: no proof.
    assert explained["explanation"].tolist() == ["cut", "unexplained", "unexplained", "misprint"]
    assert explained["proof"].tolist() == ["recomputed", "", "", "stated"]
    other = explain({"1": compare(numbers, computed | {("c", "x"): 2.0}, decimals=3)}, reasons)
    assert other["explanation"].tolist()[-1] == "unexplained"  # the reason speaks of 1.0


@dataclass(frozen=True)
class Settings:
    steps: int = 100
    rate: float = 0.1
    models: tuple[str, ...] = ("a",)
    name: str = "x"
    limit: int | None = None
    bf16: bool = False
    rates: tuple[float, ...] = (0.1,)
    share: float = 0.2
    first: int = 4
    pairs: tuple[tuple[str, str], ...] = ()

    POSITIVE: ClassVar = ("steps", "rates")
    AT_LEAST: ClassVar = {"first": 2}
    SHARES: ClassVar = ("share",)
    NEEDED: ClassVar = ("models",)
    WORDS: ClassVar = {"models": ("a", "b", "c", "d")}
    PAIRS: ClassVar = ("pairs",)


PRESETS = {"smoke": Settings(steps=5), "paper": Settings(models=("a", "b"))}


def settings_from(*options: str) -> Settings:
    parser = argparse.ArgumentParser()
    add_preset_options(parser, PRESETS, default="smoke")
    parser.format_help()
    return chosen_settings(parser.parse_args(options), PRESETS)


def test_presets_and_single_changes() -> None:
    assert settings_from() == Settings(steps=5)
    assert settings_from("--preset", "paper").models == ("a", "b")
    changed = settings_from("--set", "rate=1", 'models=["c", "d"]', "name=7", "limit=3", "bf16=true")
    assert changed == Settings(5, 1.0, ("c", "d"), "7", 3, True)
    other = settings_from("--set", "rates=[1, 0.5]", "first=2", "share=0.5", 'pairs=[["a", "b"]]')
    assert other == Settings(5, rates=(1.0, 0.5), first=2, share=0.5, pairs=(("a", "b"),))
    assert type(other.rates[0]) is float  # 1 and 1.0 are one setting
    assert settings_from("--set", 'name="a\\nb "').name == "a\nb "  # as a template needs it
    assert settings_from("--set", "name=a b ").name == "a b "


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("step=3", "Did you mean 'steps'"),
        ("steps", "expected NAME=VALUE"),
        ("steps=many", "expected a int like 5, got many"),
        ("steps=true", "expected a int"),
        ("steps=1.5", "expected a int"),
        ("steps=0", "expected numbers above 0"),
        ("limit=-1", "expected numbers of at least 0"),
        ("first=1", "expected numbers of at least 2"),
        ("share=1", "expected a share"),
        ("models=[]", "expected a list with at least one entry"),
        ('models=["bb"]', "expected one of 'a', 'b', 'c', 'd', got 'bb'"),
        ("models=[1]", "expected a list of entries like 'a', got 1"),
        ("rates=[true]", "expected a list of entries like 0.1, got True"),
        ("rates=[0]", "expected numbers above 0"),
        ("rates=[Infinity]", "expected numbers above 0"),
        ('pairs=[["a"]]', "expected a list of pairs"),
    ],
)
def test_settings_of_another_kind_are_refused(option: str, said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        settings_from("--set", option)


def test_the_results_folder_can_be_read_without_the_recipe(tmp_path: Path) -> None:
    results = Results(tmp_path / "out", "example", Settings())
    numbers = published(tmp_path, "3,a,x,0.5", "3,b,x,0.5")
    results.comparison("3", compare(numbers, {("a", "x"): 0.5}))
    results.table("more", pd.DataFrame({"n": [1, 2]}))
    results.figure("line", go.Figure(go.Scatter(y=[1, 2])))
    assert not (tmp_path / "out" / "results.json").exists()
    page = results.report("An example", "What it shows.", {"more": "Two numbers.", "line": "A line.", "absent": ""})
    assert [section.title for section in page.sections] == ["Published and computed", "More", "Line", "Table 3"]
    assert "Two numbers." in page.html()
    results.finish({"seconds": 1})
    assert (tmp_path / "out" / "table_3.csv").read_text() == (
        "row,column,published,computed,difference\na,x,0.5,0.5,0.0\nb,x,0.5,,\n"
    )
    about = json.loads((tmp_path / "out" / "results.json").read_text())
    assert about["settings"]["steps"] == 100
    assert about["seconds"] == 1
    assert set(about["files"]) == {"table_3.csv", "more.csv", "cells.csv", "summary.csv", "figures/line.html"}
    assert all((tmp_path / "out" / name).is_file() for name in about["files"])
    assert pd.read_csv(tmp_path / "out" / "summary.csv").to_dict("records") == [
        {"table": 3, "cells": 2, "equal": 1, "differs": 0, "matched": 0, "absent": 1}
    ]
    assert pd.read_csv(tmp_path / "out" / "cells.csv")["status"].tolist() == ["equal", "absent"]


def test_a_figure_is_whole_whatever_an_interrupted_call_left(tmp_path: Path) -> None:
    """plotly leaves a library that is there as it is: cut off, it made every figure blank."""
    library = tmp_path / "figures" / "plotly.min.js"
    library.parent.mkdir()
    library.write_text("/* half")
    results = Results(tmp_path, "recipe", {})
    results.figure("curve", go.Figure(go.Scatter(y=[1, 2])))
    assert library.stat().st_size > 10**6
    assert 'src="plotly.min.js"' in (tmp_path / "figures" / "curve.html").read_text(encoding="utf-8")
    (tmp_path / "figures" / "bars.html").mkdir()
    with pytest.raises(ps.FileError, match=r"cannot write .*bars\.html.* give another folder"):
        results.figure("bars", go.Figure())
