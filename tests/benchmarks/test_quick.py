"""The command end to end on tiny models, and its files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.baselines.peft import PeftPrompt, peft_rows
from benchmarks.cases import CASES, QUICK, choose
from benchmarks.figure import ratio_figure
from benchmarks.inputs import Lengths, random_batches
from benchmarks.measure import measure
from benchmarks.models import Models
from benchmarks.report import page
from benchmarks.results import SCHEMA, Results, newest
from benchmarks.summary import spread_text
from benchmarks.timing import cpu_clock
from benchmarks.training import make_prompt

STORED = Path(__file__).parent / "results.json"
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _own_precision() -> None:
    """`pin` sets what it sets for the whole process; these are the defaults of the tests too."""
    assert torch.get_float32_matmul_precision() == "highest" and torch.get_num_threads() == 1


def test_runs_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results.json"
    cases = ["training/tiny-llama/v1/k20-n30", "scoring"]
    assert main(["--quick", "--rounds", "1", "--no-proofs", "--cases", *cases, "--out", str(out)]) == 0
    assert "promptscope" in capsys.readouterr().out
    values = json.loads(out.read_text())
    assert values["schema"] == SCHEMA
    results = Results.from_json(values)
    assert results.to_json() == values
    training, scoring = results.cases
    assert training.settings["k"] == 20 and scoring.case.startswith("scoring/")
    for case in results.cases:
        names = [m.variant for m in case.measurements]
        assert names[:3] == ["PEFT", "PEFT, label-only", "promptscope"]
        peft, _, ours = case.measurements[:3]
        assert ours.ratio is not None and set(ours.differences) == set(case.limits)
        assert ours.gflop_done < peft.gflop_done and not ours.failed
    assert {"torch", "peft", "transformers", "promptscope"} <= set(results.versions)
    assert results.hardware["threads"] == 1 and results.gemm_gflops["linear"] > 0


_KINDS = {type(case).__name__: case for case in reversed(QUICK)}


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # PEFT asks for it
@pytest.mark.parametrize("kind", _KINDS)
def test_every_kind_of_case_runs_and_is_equal(kind: str) -> None:
    """The command goes on when a case cannot run; here it may not."""
    case = _KINDS[kind]
    result = measure(case.name, {}, case.workload(Models()), 1, cpu_clock, "cpu", 100.0)
    compared = [m for m in result.measurements if m.differences]
    assert compared and not any(m.failed for m in result.measurements)


def test_an_unequal_variant_is_an_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.training.accumulate_gradient", _half_a_gradient)
    arguments = ["--quick", "--rounds", "1", "--no-proofs", "--cases", "training/tiny-llama/v1/k20-n30"]
    assert main([*arguments, "--out", str(tmp_path / "results.json")]) == 1


def _half_a_gradient(model: object, prompt: torch.nn.Module, batches: object) -> float:
    from promptscope.training.gradient import accumulate_gradient

    loss = accumulate_gradient(model, prompt, batches)  # type: ignore[arg-type]
    for parameter in prompt.parameters():
        assert parameter.grad is not None
        parameter.grad.div_(2)
    return loss


def test_list_and_unknown_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert "training/smollm2-135m/v1/k100-n30-b16" in capsys.readouterr().out
    assert main(["--cases", "no-such-case"]) == 2
    assert "training/smollm2-135m/v1/k100-n30-b16" in capsys.readouterr().err


def test_names_are_unique_and_every_kind_is_quick_too() -> None:
    for cases in (CASES, QUICK):
        names = [case.name for case in cases]
        assert len(set(names)) == len(names)
    assert {type(case) for case in CASES} == {type(case) for case in QUICK}
    assert choose(CASES, ["bert", "k4-"])[0].name == "training/smollm2-135m/v1/k4-n20-b8"


def test_table_and_figure_of_stored_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", str(STORED)]) == 0
    shown = capsys.readouterr().out
    results = Results.from_json(json.loads(STORED.read_text()))
    assert page(results) + "\n" == shown
    for case in results.cases:
        assert f"### {case.case}" in shown
    assert isinstance(results.control, Results)
    overview = shown.split("\n\n### ")[0].splitlines()
    (line,) = (line for line in overview if line.startswith("| growth/tiny-llama/v1/k10-50-100-n30-b16, k=50 |"))
    cells = [cell.strip() for cell in line.split("|")]
    (growth,) = (case for case in results.cases if case.case.startswith("growth/"))
    (ours,) = (m for m in growth.measurements if m.variant == "promptscope, k=50")
    assert ours.ratio is not None and spread_text(ours.ratio) in cells  # in the column of its variant, without its size
    above = overview[: overview.index(line)]
    head = [cell.strip() for cell in [text for text in above if text.startswith("| case")][-1].split("|")]
    assert head.index("promptscope") == cells.index(spread_text(ours.ratio))
    assert any(line.startswith("| control: ") for line in overview)
    figure = ratio_figure([results])
    drawn = {(name, x) for trace in figure.data for name, x in zip(trace.y, trace.x, strict=True)}
    wanted = {m.ratio.median for case in results.cases for m in case.measurements if m.ratio and not m.failed}
    assert {x for _, x in drawn} == wanted and len(wanted) > 3
    assert main(["figure", str(STORED), "--out", str(tmp_path / "speed.html")]) == 0
    assert "plotly" in (tmp_path / "speed.html").read_text()


def test_of_a_case_in_several_sessions_the_newest_counts() -> None:
    first = Results.from_json(json.loads(STORED.read_text()))
    second = replace(first, date="2099-01-01T00:00:00+00:00", cases=first.cases[:2])
    old, new = newest([second, first])
    assert (old.date, new.date) == (first.date, second.date)
    assert [case.case for case in old.cases] == [case.case for case in first.cases[2:]]
    assert [case.case for case in new.cases] == [case.case for case in first.cases[:2]]


def test_summary_has_a_line_for_every_case_of_all_sessions(capsys: pytest.CaptureFixture[str]) -> None:
    results = Results.from_json(json.loads(STORED.read_text()))
    assert main(["summary", str(STORED), str(STORED)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for case in results.cases:
        assert any(line.startswith(f"| {case.case}") for line in lines)
    assert lines[-1] == "All variants are equal within their limits."


def test_a_table_has_only_columns_that_its_cases_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", str(STORED)]) == 0
    tables = [part for part in capsys.readouterr().out.split("\n\n") if part.startswith("| case")]
    assert len(tables) > 3
    for table in tables:
        head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
        assert all(any(row[i] for row in rows) for i in range(len(head)))


@pytest.mark.parametrize(
    "heading, files",
    [
        ("AMD EPYC, Zen 5", "zen5*.json"),
        ("AMD EPYC, Zen 4", "zen4*.json"),
        ("Intel Xeon with AMX", "xeon-amx-*.json"),
        ("NVIDIA H100", "gpu-nvidia-h100.json"),
    ],
)
def test_the_page_of_speeds_is_what_is_printed(heading: str, files: str, capsys: pytest.CaptureFixture[str]) -> None:
    sessions = sorted(path for path in (ROOT / "benchmarks/results").glob(files) if "scale" not in path.name)
    assert main(["summary", *map(str, sessions)]) == 0
    text = (ROOT / "docs/speed.md").read_text(encoding="utf-8")
    said = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    assert said.rstrip().endswith(capsys.readouterr().out.rstrip())


def test_results_of_another_schema_are_refused() -> None:
    values = json.loads(STORED.read_text()) | {"schema": SCHEMA + 1}
    with pytest.raises(ValueError, match="schema"):
        Results.from_json(values)


@pytest.mark.parametrize("level", ["v1", "v2"])
def test_peft_gets_the_numbers_of_our_prompt(level: str) -> None:
    """The baseline is only one if it computes the same thing: its logits are ours, and so are a row's alone."""
    subject = Models().get("tiny-llama")
    (batch,) = random_batches(subject, Lengths(4, 9), rows=3)
    prompt = make_prompt(subject, level, 5)  # type: ignore[arg-type]
    theirs = PeftPrompt(subject, prompt)
    where = batch.targets != -100
    with torch.no_grad():
        logits = theirs.logits(batch)[where]
        ours = subject.hooked.logits(batch.input_ids, batch.attention_mask, prompt)[where]
        torch.testing.assert_close(logits, ours, rtol=0, atol=1e-5)
        torch.testing.assert_close(theirs.logits_at(batch, where), logits, rtol=0, atol=1e-5)
        # Another prompt gives other logits.
        theirs.weight.mul_(2)
        assert (theirs.logits(batch)[where] - logits).abs().max() > 1e-4
    assert torch.equal(peft_rows(prompt, lambda number: number) * 2, theirs.weight)


def test_an_error_in_a_case_spares_the_others_and_is_an_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(*arguments: object) -> None:
        raise RuntimeError("out of everything")

    monkeypatch.setattr("benchmarks.training.training_work", breaks)
    out = tmp_path / "results.json"
    arguments = ["--quick", "--rounds", "1", "--no-proofs", "--cases", "training/tiny-llama/v1/k20-n30", "scoring"]
    assert main([*arguments, "--out", str(out)]) == 1
    broken, scoring = Results.from_json(json.loads(out.read_text())).cases
    assert broken.failed and broken.not_run == "RuntimeError: out of everything"
    assert scoring.measurements and "out of everything" in capsys.readouterr().out
