"""The tables of the published folder: equal to the printed ones, to the authors' own sums, and to naive loops."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recipes.common import read_published
from recipes.token_splitting.analyses import alignment_table, importance_table, prompt_table, transfer_table
from recipes.token_splitting.artifacts import RUNS, Artifacts
from recipes.token_splitting.explanations import explanations
from recipes.token_splitting.paper_tables import TABLES, compute, important_loss, run_means
from recipes.token_splitting.regenerate import PUBLISHED
from recipes.token_splitting.run import main
from recipes.token_splitting.source import AbsentError
from tests.report.test_report import Page

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "token_splitting" / "run.py"


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "trained_prompts"


@pytest.fixture(scope="module")
def results(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    out = tmp_path_factory.mktemp("tables")
    command = [sys.executable, str(RECIPE), "tables", "--artifacts", str(folder), "--out", str(out)]
    return out, subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def all_tasks(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """Return a folder with runs for all three data sets: those of IMDb under the others' names as well."""
    whole = tmp_path_factory.mktemp("all_tasks")
    shutil.copytree(folder, whole, dirs_exist_ok=True)
    for other in ("emotion", "mnli"):
        shutil.copytree(whole / "cfgs" / "imdb", whole / "cfgs" / other)
        for path in sorted((whole / RUNS).glob("[0-9]*")):
            shutil.copytree(path, whole / RUNS / f"{other}_{path.name}")
    for epochs in (2, 10, 20):
        for i in range(3):
            shutil.copytree(whole / RUNS / f"5_model_{i}", whole / RUNS / f"mnli_5_model_{i}_e{epochs}")
    # Runs that are copies of each other are refused: a loss of each moves by less than anybody prints.
    for number, path in enumerate(sorted((whole / RUNS).glob("*/checkpoints/*_token_drop_out_test.csv"))):
        lines = path.read_text(encoding="utf-8").splitlines()
        name, first, *others = lines[1].split(",")
        lines[1] = ",".join([name, repr(float(first) * (1 + 1e-10 * number)), *others])
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Artifacts(whole)


def test_the_published_numbers_are_complete() -> None:
    published = read_published(PUBLISHED)
    sizes = {"1": 24, "2": 54, "3": 18, "4": 36, "5": 18, "6": 16, "8": 50, "10": 80, "11": 85, "12": 85, "13": 39}
    sizes |= {"14": 25, "text": 4}
    assert published["table"].value_counts().to_dict() == sizes
    assert list(TABLES) == list(sizes)


def test_the_sample_gives_the_printed_numbers(results: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    out, finished = results
    assert finished.returncode == 0, finished.stderr
    summary = pd.read_csv(out / "summary.csv", dtype={"table": str}).set_index("table")
    absent = {"1": 16, "3": 12, "4": 24, "5": 12, "6": 16, "13": 24, "text": 2}
    assert summary["absent"].to_dict() == {table: absent.get(table, 0) for table in TABLES}
    assert summary["differs"].to_dict() == {table: int(table in ("8", "14")) for table in TABLES}
    assert (summary["equal"] + summary["differs"] + summary["absent"] == summary["cells"]).all()
    for table in TABLES:
        frame = pd.read_csv(out / f"table_{table}.csv")
        assert list(frame.columns) == ["row", "column", "published", "computed", "difference"]
        np.testing.assert_allclose(frame["computed"] - frame["published"], frame["difference"], atol=1e-9)
        assert frame["difference"].abs().max() <= 0.0010001 or frame["computed"].isna().all()


def test_what_differs_is_explained_and_what_is_absent_is_listed(
    results: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, finished = results
    explained = pd.read_csv(out / "explanations.csv", dtype=str).set_index(["table", "row", "column"])
    assert explained["explanation"].to_dict() == {
        ("8", "17", "trained soft prompt"): "misprint in one cell",
        ("14", "5_model_2", "model 3"): "not rounded but cut",
    }
    assert explained["proof"].tolist() == ["stated", "recomputed"]
    absent = pd.read_csv(out / "absent.csv", dtype=str)
    assert len(absent) == 106
    assert set(absent["reason"]) >= {"the run emotion_2_model_0 is not in the folder"}
    assert "table 6 is absent: the run mnli_5_model_0_e2 is not in the folder" in finished.stdout
    assert (pd.read_csv(out / "table_6.csv")["computed"].isna()).all()


def test_a_folder_of_any_name_is_listed_in_the_order_of_numbers(tmp_path: Path) -> None:
    names = ["2_model_0", "10_model_0", "5\N{SUPERSCRIPT TWO}"]  # a digit that is no number
    for name in names:
        (tmp_path / RUNS / name).mkdir(parents=True)
    (tmp_path / "cfgs").mkdir()
    assert Artifacts(tmp_path).runs() == ["2_model_0", "5\N{SUPERSCRIPT TWO}", "10_model_0"]


def test_sums_are_the_authors_own(folder: Path) -> None:
    """`imdb_test.csv` is what their report script wrote."""
    with open(folder / RUNS / "imdb_test.csv", newline="") as file:
        header, *lines = [[cell.strip() for cell in line] for line in csv.reader(file)]
    theirs = {(line[0], kind): float(cell) for line in lines for kind, cell in zip(header[1:], line[1:], strict=True)}
    artifacts = Artifacts(folder)
    ours: dict[tuple[str, str], float] = {}
    cells = {table: compute(TABLES[table](artifacts))[0] for table in ("1", "3", "4", "5", "13")}
    for n in ("2", "5", "10"):
        for name, table, column in (
            ("individual_model_loss", "1", "IMDb"),
            ("important_token_masked_loss", "3", "IMDb"),
            ("unimportant_token_masked", "4", "IMDb masked"),
            ("compressed_loss", "4", "IMDb shortened"),
            ("euc", "13", "IMDb euc"),
            ("cos", "13", "IMDb cos"),
        ):
            mean = {"unimportant_token_masked": f"{name}_loss", "euc": "euc_accuracy", "cos": "cos_accuracy"}
            ours[mean.get(name, name), f"{n}_model"] = cells[table][n, f"{column} mean"]
            ours[f"{name}_std", f"{n}_model"] = cells[table][n, f"{column} std"]
    for row, kind in (("Train seed", "5_model_train"), ("Init seed", "5_model_init")):
        ours["important_token_masked_loss", kind] = cells["5"][row, "IMDb mean"]
        ours["important_token_masked_loss_std", kind] = cells["5"][row, "IMDb std"]
    assert len(ours) == 40
    for key, value in ours.items():
        assert value == pytest.approx(theirs[key], rel=1e-9), key


def test_every_cell_is_computed_where_its_runs_are_there(all_tasks: Artifacts) -> None:
    for table, cells in TABLES.items():
        computed, lacking = compute(cells(all_tasks))
        published = read_published(PUBLISHED)
        rows = published[published["table"] == table]
        assert set(computed) | set(lacking) == set(zip(rows["row"], rows["column"], strict=True))
        assert len(lacking) == (2 if table == "text" else 0)


def test_other_data_sets_have_three_runs_of_their_own(all_tasks: Artifacts) -> None:
    assert all_tasks.runs_of("mnli", "train") == ["mnli_5_model_0", "mnli_5_model_train_1", "mnli_5_model_train_2"]
    three = [important_loss(all_tasks, f"10_model_{i}")[0] for i in range(3)]
    computed, _ = compute(TABLES["3"](all_tasks))
    assert computed["10", "mnli mean"] == pytest.approx(np.mean(three))
    assert computed["10", "mnli std"] == pytest.approx(np.sqrt(np.mean((three - np.mean(three)) ** 2)))
    assert computed["10", "mnli mean"] != pytest.approx(computed["10", "IMDb mean"])


def test_spread_over_models_is_what_the_reason_says(all_tasks: Artifacts) -> None:
    losses, averages = [], []
    for i in range(3):
        path = next((all_tasks.folder / RUNS / f"emotion_2_model_{i}" / "checkpoints").glob("*with_k_7_test.csv"))
        (line,) = [line for line in path.read_text().splitlines() if line.startswith("Shortened")]
        *models, average = (float(cell) for cell in line.split(",")[1:])
        losses += models
        averages.append(average)
    with_averages, plain, cut, _ = explanations(all_tasks)
    cell = ("4", "2", "emotion shortened std")
    assert with_averages.number(cell, 0.0) == pytest.approx(np.std(losses + averages))
    assert plain.number(cell, 0.0) == pytest.approx(np.std(losses))
    assert with_averages.number(("4", "2", "emotion masked std"), 0.0) is None
    assert cut.number(cell, 5.4258) == pytest.approx(5.425)


def test_a_class_that_lacks_a_run_is_absent_not_averaged(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / RUNS / "5_model_3")
    with pytest.raises(AbsentError, match="5_model_3"):
        run_means(Artifacts(tmp_path), "IMDb", "5", important_loss)
    computed, lacking = compute(TABLES["3"](Artifacts(tmp_path)))
    assert ("2", "IMDb mean") in computed
    assert "5_model_3" in lacking["5", "IMDb mean"]


def test_the_order_of_models_in_a_file_does_not_matter(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / RUNS).glob("*/checkpoints/*_token_drop_out_test.csv"):
        header, *rows = path.read_text().splitlines()
        path.write_text("\n".join([header, *rows[::-1]]))
    plain, turned = Artifacts(folder), Artifacts(tmp_path)
    for table in ("3", "13"):
        assert compute(TABLES[table](turned))[0] == pytest.approx(compute(TABLES[table](plain))[0])
    pd.testing.assert_frame_equal(alignment_table(turned), alignment_table(plain))


def test_alignment_by_masked_loss_is_table_13(folder: Path) -> None:
    artifacts = Artifacts(folder)
    table, _ = compute(TABLES["13"](artifacts))
    found = alignment_table(artifacts)
    by_loss = found[found["importance"] == "loss"]
    assert len(by_loss) == 6
    for row in by_loss.itertuples():
        metric = {"cosine": "cos", "euclidean": "euc"}[row.metric]
        assert row.observed == pytest.approx(table[str(row.models), f"IMDb {metric} mean"])
        assert (row.gained, row.lost, row.change_p) == (0, 0, 1.0)
        assert row.null_mean < row.observed


def test_ratio_and_counts_are_what_loops_over_the_files_give(folder: Path) -> None:
    artifacts = Artifacts(folder)
    matter, to_one, same, tokens = 0, 0, 0, 0
    for i in range(5):
        checkpoints = folder / RUNS / f"2_model_{i}" / "checkpoints"
        masked = pd.read_csv(next(checkpoints.glob("*_out_test.csv")), skipinitialspace=True, index_col=0).to_numpy()
        lines = next(checkpoints.glob("*with_k_7_test.csv")).read_text().splitlines()
        full = [float(cell) for line in lines if line.startswith("One model") for cell in line.split(",")[1:-1]]
        for token in range(16):
            ratios = [masked[m, token] / full[m] for m in range(2)]
            above = sum(ratio > 1.1 for ratio in ratios)
            matter += above > 0
            to_one += above == 1
            same += np.argmax(masked[:, token]) == np.argmax(ratios)
            tokens += 1
    row = importance_table(artifacts).set_index(["dataset", "models"]).loc[("IMDb", 2)]
    assert row[:4].tolist() == pytest.approx([tokens, matter / tokens, to_one / matter, same / tokens])
    assert 0.5 <= row["null_mean"] <= 1
    assert row["concentration"] > row["null_mean"]


def test_prompts_and_transfer(folder: Path) -> None:
    artifacts = Artifacts(folder)
    prompts = prompt_table(artifacts).set_index("run")
    assert len(prompts) == 73
    assert prompts.loc["1_model_0", "norm"] == pytest.approx(10.45, abs=0.005)  # after training
    assert prompts.loc["1_model_0", "initial_norm"] == pytest.approx(27.70, abs=0.005)
    assert set(prompts.loc[[f"1_model_{i}_sp" for i in range(25)], "length"]) == {2}
    (row,) = transfer_table(artifacts).to_dict("records")
    assert row["own_loss"] == pytest.approx(np.mean([0.311, 0.307, 0.309, 0.313, 0.299]), abs=0.001)
    assert abs(row["other_gain"]) < 0.1 < 10 < row["own_gain"]
    assert row["p_value"] > 0.5


def test_figures_are_written(results: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    out, _ = results
    names = {path.name for path in (out / "figures").iterdir()}
    assert names >= {"alignment.html", "masking_5_model_0.html", "plotly.min.js"}
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    assert len(page.figures()) == 4
    assert "misprint in one cell" in page.text


@pytest.mark.parametrize("options", [["--help"], ["tables", "--help"]])
def test_help_tells_a_newcomer_what_to_do(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as finished:
        main(options)
    assert finished.value.code == 0
    shown = capsys.readouterr().out
    assert "tables" in shown
    assert "--artifacts" in shown
