"""The demo: it runs, and its sentences follow its numbers."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

import promptscope as ps
from tests.report.test_report import Page

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "demo"
CONDITIONS = ("frozen model", "random v1", "v1", "random v2", "v2")


def run_demo(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the demo as a user does."""
    command = [sys.executable, str(RECIPE / "run.py"), "--out", str(out), *options]
    return subprocess.run(command, capture_output=True, text=True, check=True)


@pytest.fixture(scope="module")
def findings() -> ModuleType:
    """Import the recipe's module, whose folder is no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(RECIPE))
        return importlib.import_module("findings")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("demo")
    return out, run_demo(out, "--quick").stdout


def test_it_ends_with_the_report_and_three_numbers(quick: tuple[Path, str]) -> None:
    out, printed = quick
    *_, heading, first, second, third, account, last = printed.strip().splitlines()
    assert heading == "The three most interesting numbers:"
    assert str((out / "report.html").resolve()) in last
    assert str((out / "explain.html").resolve()) in account
    assert "Through which parts of the model it acts" in (out / "explain.html").read_text(encoding="utf-8")
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    values = {finding["value"] for finding in results["findings"]}
    for line in (first, second, third):
        assert any(line.strip().startswith(value) for value in values)


def test_files_agree_with_each_other(quick: tuple[Path, str]) -> None:
    out, _ = quick
    scores = pd.read_csv(out / "scores.csv")
    assert list(scores["condition"][:5]) == list(CONDITIONS)
    assert (scores["low"] <= scores["accuracy"]).all()
    assert (scores["accuracy"] <= scores["high"]).all()
    model, task = ps.load_model("embedded-causal"), ps.load_task("continent_ko")
    prompt = ps.load_run(out / "runs" / "continent_ko-v2").prompt
    expected = ps.evaluate(model, prompt, task, limit=12, progress=False)["accuracy"]
    assert scores.query("task == 'continent_ko' and condition == 'v2'")["accuracy"].item() == pytest.approx(expected)
    heads = pd.read_csv(out / "heads.csv")
    assert len(heads) == 2 * 4 * model.shape.n_layers * model.shape.n_heads
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    assert len(page.figures()) == 6
    for finding in json.loads((out / "results.json").read_text(encoding="utf-8"))["findings"]:
        assert finding["sentence"] in page.text


@pytest.mark.slow
def test_a_second_call_trains_and_probes_nothing(quick: tuple[Path, str]) -> None:
    out, _ = quick
    before = {path: path.stat().st_mtime_ns for folder in ("runs", "store") for path in (out / folder).rglob("*.safe*")}
    before[out / "explain.html"] = (out / "explain.html").stat().st_mtime_ns
    assert len(before) > 8
    run_demo(out, "--quick")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def hits(rate: float, n: int = 200) -> list[bool]:
    return [i < rate * n for i in range(n)]


def right(**rates: float) -> dict[str, list[bool]]:
    """Return answers of each condition; all that is not named is wrong."""
    return {name: hits(rates.get(name.replace(" ", "_"), 0.0)) for name in CONDITIONS}


def test_a_gain_is_claimed_only_where_there_is_one(findings: ModuleType) -> None:
    gain = findings._gain("t", right(v2=0.9, frozen_model=0.1))
    assert "v2 is above both" in gain.sentence
    assert gain.value == "+80 points"
    none = findings._gain("t", right(v2=0.5, random_v2=0.5))
    assert "no clear difference" in none.sentence
    assert none.weight == 0
    worse = findings._gain("t", right(v2=0.2, frozen_model=0.9))
    assert "v2 is below" in worse.sentence
    assert worse.value == "−70 points"


def test_v1_may_be_the_better_one(findings: ModuleType) -> None:
    assert "v2 is worse than v1" in findings._kinds({"t": right(v1=0.9, v2=0.1)}).sentence
    assert "v2 is better than v1" in findings._kinds({"t": right(v1=0.1, v2=0.9)}).sentence
    assert "not clearly different" in findings._kinds({"t": right(v1=0.5, v2=0.5)}).sentence


def test_moved_heads_are_counted(findings: ModuleType) -> None:
    generator = np.random.default_rng(0)
    null = generator.uniform(1, 2, (60, 2, 3))
    trained = null + generator.normal(0, 0.01, null.shape)
    trained[:, 0, 1] += 1.0  # one head more, one less, four as under the random prompt
    trained[:, 1, 2] -= 0.5
    examples = {"random v2": null, "v2": trained}
    finding = findings._moved({"t": ps.ProbeResult.from_examples(examples, name="kl")})
    assert finding.value == "1 of 6"
    assert "t: 1 of 6 heads more, 1 less" in finding.sentence
    trained[:, 1, :2] -= 0.5
    fewer = findings._moved({"t": ps.ProbeResult.from_examples(examples, name="kl")})
    assert (fewer.value, "moves less than" in fewer.label) == ("3 of 6", True)


def heads_table(**maps: np.ndarray) -> pd.DataFrame:
    rows = []
    for key, values in maps.items():
        prompt, task = key.split("__")
        for i, value in enumerate(values):
            rows.append((task, prompt.replace("_", " "), i // 5, i % 5, value, i / len(values)))
    return pd.DataFrame(rows, columns=["task", "prompt", "layer", "head", "attention_kl", "variability"])


def test_common_heads_count_only_beyond_the_random_prompt(findings: ModuleType) -> None:
    generator = np.random.default_rng(1)
    base, learnt = generator.normal(size=(2, 30))
    noise = generator.normal(0, 0.3, (4, 30))
    nulls = {"random_v2__a": base + noise[0], "random_v2__b": base + noise[1]}
    same = findings._same(heads_table(**nulls, v2__a=base + learnt + noise[2], v2__b=base + learnt + noise[3]))
    assert "they move the same heads" in same.sentence
    # Both prompts move the heads that any prompt moves, and nothing else: no finding.
    apart = findings._same(heads_table(**nulls, v2__a=base + noise[2], v2__b=base + noise[3]))
    assert "need not" in apart.sentence
    assert apart.weight == 0


def test_variability_and_kl_correlate_as_pearson_says(findings: ModuleType) -> None:
    rising = np.arange(30.0)
    flat = np.tile([0.0, 1.0], 15)
    finding = findings._content(heads_table(v2__a=rising, random_v2__a=flat))
    assert finding.value == "r = 1.00"
    assert "below 0.05 for 1 of 1 tasks" in finding.sentence
    assert findings._content(heads_table(v2__a=flat, random_v2__a=flat)).weight == 0


def test_holm_against_a_published_example(findings: ModuleType) -> None:
    # R: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")
    corrected = findings.holm(np.array([0.03, 0.01, 0.05, 0.02, 0.04]))
    assert corrected == pytest.approx([0.09, 0.05, 0.09, 0.08, 0.09])


def test_the_headline_has_one_finding_of_a_kind(findings: ModuleType) -> None:
    make = [findings._gain(f"t{i}", right(v2=rate)) for i, rate in enumerate((0.5, 0.9))]
    make.append(findings._kinds({"t": right(v1=0.1, v2=0.9)}))
    assert [finding.kind for finding in findings.headline(make)] == ["gain", "kinds"]
    assert findings.headline(make)[0].value == "+90 points"


@pytest.mark.slow
def test_prompts_learn(tmp_path: Path) -> None:
    """What the issue asks for: v2 clearly above the frozen model and a random prompt of the same norms."""
    run_demo(tmp_path)
    scores = pd.read_csv(tmp_path / "scores.csv").set_index(["task", "condition"])
    assert len(scores) == 4 * len(CONDITIONS)
    for task in ("capital_en", "capital_ko", "currency_en", "currency_ko"):
        v2 = scores.loc[(task, "v2"), "low"]
        assert v2 > scores.loc[(task, "frozen model"), "high"]
        assert v2 > scores.loc[(task, "random v2"), "high"]
