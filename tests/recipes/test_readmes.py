"""Numbers in the recipes' READMEs are those of the result files that are kept beside them."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from promptscope.errors import RunError
from recipes.common import readme
from recipes.common.findings import in_general
from recipes.common.keep import MAX_BYTES, SUFFIXES, keep, kept_files
from recipes.common.keep import main as keep_main
from recipes.common.readme import BLOCK, RECIPES, main, without_tables, written

OWN = ("attention_and_neurons", "explosive_prompts", "power_of_scale", "prompt_geometry", "token_splitting")
MEASURED = re.compile(r"(?<![\w/.-])\d*\.\d+|\d+ %")


@pytest.mark.parametrize("name", OWN)
def test_every_table_is_what_its_file_says(name: str) -> None:
    text = (RECIPES / name / "README.md").read_text(encoding="utf-8")
    assert len(BLOCK.findall(text)) >= 3
    assert written(text, RECIPES / name) == text, "run python recipes/common/readme.py"


@pytest.mark.parametrize("name", OWN)
def test_what_was_found_has_no_number_without_a_file(name: str) -> None:
    """In sections on findings and costs all measured numbers are in tables; levels of tests are no measurements."""
    text = (RECIPES / name / "README.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", without_tables(text), flags=re.MULTILINE)
    found = [part for part in sections if re.match(r"Findings|Run time|What comes out|Beyond", part)]
    assert found
    for part in found:
        numbers = [number for number in MEASURED.findall(part) if number not in (".05", "95 %")]
        assert not numbers, f"{part.splitlines()[0]}: {numbers}"


@pytest.mark.parametrize("name", OWN)
def test_kept_results_are_small_and_hold_no_weights(name: str) -> None:
    files = kept_files(RECIPES / name / "results")
    assert files and {path.suffix for path in files} <= set(SUFFIXES)
    assert sum(path.stat().st_size for path in files) <= MAX_BYTES
    for about in (path for path in files if path.name == "results.json"):
        known = json.loads(about.read_text(encoding="utf-8"))
        assert known["recipe"] == name and "versions" in known


def test_a_changed_file_or_a_changed_number_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    table = pd.DataFrame({"claim": ["a|b", "c"], "number": [0.12345, float("nan")], "n": [3, 4]})
    table.to_csv(tmp_path / "results" / "t.csv", index=False)
    (tmp_path / "results" / "r.json").write_text(json.dumps({"cost": {"seconds": 12.5}, "groups": [1, 2]}))
    text = (
        '<!-- from {"file": "results/t.csv", "columns": ["claim", "number"], "names": {"number": "x"}} -->\n'
        "<!-- end -->\nwords\n"
        '<!-- from {"file": "results/r.json", "keys": ["cost.seconds", "groups"]} -->\n<!-- end -->\n'
    )
    new = written(text, tmp_path)
    assert "| claim | x |\n| --- | --- |\n| a\\|b | 0.123 |\n| c |  |\n" in new
    assert "| cost.seconds | 12.5 |\n| groups | [1, 2] |\n" in new
    assert written(new, tmp_path) == new and without_tables(new) == "\nwords\n\n"
    assert written(new.replace("0.123", "0.9"), tmp_path) == new
    some = new.replace('"columns"', '"query": "n > 3", "columns"')
    assert "a\\|b" not in written(some, tmp_path)
    for wrong in ("t2.csv", "r.json"):
        with pytest.raises(RunError, match="cannot be written"):
            written(text.replace("t.csv", wrong), tmp_path)


def test_files_stand_side_by_side(tmp_path: Path) -> None:
    pd.DataFrame({"claim": ["a", "b"], "verdict": ["holds", "undecided"]}).to_csv(tmp_path / "0.csv", index=False)
    pd.DataFrame({"claim": ["b", "c"], "verdict": ["does not hold", "holds"]}).to_csv(tmp_path / "1.csv", index=False)
    spec = {"files": {"seed 0": "0.csv", "seed 1": "1.csv"}, "by": ["claim"], "columns": ["verdict"]}
    assert written(f"<!-- from {json.dumps(spec)} -->\n<!-- end -->", tmp_path).splitlines()[1:-1] == [
        "| claim | verdict, seed 0 | verdict, seed 1 |",
        "| --- | --- | --- |",
        "| a | holds |  |",
        "| b | undecided | does not hold |",
        "| c |  | holds |",
    ]
    whole = written(f"<!-- from {json.dumps(spec | {'in_general': True})} -->\n<!-- end -->", tmp_path)
    assert [line.split(" | ")[-1] for line in whole.splitlines()[1:-1]] == [
        "in general |", "--- |", "undecided |", "undecided |", "undecided |",  # no verdict is not one that agrees
    ]  # fmt: skip
    pd.DataFrame({"claim": ["a", "a"], "verdict": ["holds", "undecided"]}).to_csv(tmp_path / "1.csv", index=False)
    with pytest.raises(RunError, match=r"1\.csv: a names more than one row"):
        written(f"<!-- from {json.dumps(spec)} -->\n<!-- end -->", tmp_path)


@pytest.mark.parametrize(
    ("verdicts", "together"),
    [
        (["holds", "holds", "holds"], "holds"),
        (["does not hold", "does not hold"], "does not hold"),
        (["holds", "does not hold", "undecided"], "depends on the model"),
        (["does not hold", "undecided"], "undecided"),
        (["holds", "not measured"], "undecided"),
        (["not measured", "not measured"], "not measured"),
    ],
)
def test_several_models_together_say_what_the_most_careful_one_says(verdicts: list[str], together: str) -> None:
    assert in_general(verdicts) == together


def test_readmes_are_checked_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(RECIPES / "prompt_geometry", tmp_path / "prompt_geometry")
    monkeypatch.setattr("recipes.common.readme.RECIPES", tmp_path)
    assert main(["--check"]) == 0
    path = tmp_path / "prompt_geometry" / "results" / "smoke" / "accuracy.csv"
    path.write_text(path.read_text().replace("plural_en,0.", "plural_en,1."))
    assert main(["--check"]) == 1
    assert "other numbers than its files" in capsys.readouterr().out
    assert main([]) == 0 and main(["--check"]) == 0


def test_tables_and_settings_are_kept_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, results = tmp_path / "out", tmp_path / "results"
    (out / "runs").mkdir(parents=True)
    for name in ("a.csv", "report.html", "calls.jsonl", "runs/weights.csv"):
        (out / name).write_text("x")
    with pytest.raises(RunError, match="has not finished"):
        keep(out, results / "smoke")
    (out / "results.json").write_text("{}")
    (results / "smoke").mkdir(parents=True)
    (results / "smoke" / "old.csv").write_text("old")
    assert keep_main([str(out), str(results / "smoke")]) == 0
    assert [path.name for path in kept_files(results)] == ["a.csv", "results.json"]
    (out / "big.csv").write_bytes(b"0" * MAX_BYTES)
    assert keep_main([str(out), str(results / "small")]) == 1
    assert "at most 5,000,000" in capsys.readouterr().err


def test_thousands_are_written_out() -> None:
    assert [readme._cell(value, 3) for value in (5218.3, 999.6, 0.0376, 2.48e18, 1.4e5, -6603.0)] == [
        "5,220", "1,000", "0.0376", "2.48e+18", "140,000", "-6,600",
    ]  # fmt: skip
