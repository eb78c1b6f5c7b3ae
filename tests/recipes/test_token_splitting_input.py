"""Files that are damaged, incomplete or dangerous: refused by name, never executed; padded ones are read."""

import os
import pickle
import re
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from promptscope.errors import PromptError, RunError
from recipes.token_splitting.artifacts import RUNS, Artifacts
from recipes.token_splitting.prompt_files import read_prompt_file
from recipes.token_splitting.result_files import (
    read_evaluation,
    read_one_losses,
    read_transfer_losses,
)
from recipes.token_splitting.run import main
from recipes.token_splitting.source import AbsentError

MASKED = "0_1_token_drop_out_test.csv"
EVALUATED = "0_1_evaluation_with_k_7_test.csv"


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def folder(shared_data: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "artifacts"
    shutil.copytree(shared_data / "trained_prompts", copy)
    return copy


def file_of(folder: Path, run: str, name: str) -> Path:
    return folder / RUNS / run / "checkpoints" / name


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_code_in_a_prompt_is_never_executed(tmp_path: Path, save: Callable[[object, Path], None]) -> None:
    path, trace = tmp_path / "soft_prompt.pt", tmp_path / "executed"
    save(OrderedDict(weight=torch.zeros(2, 3), bomb=Bomb(trace)), path)
    with pytest.raises(PromptError, match=r"soft_prompt\.pt: refused.*would run code"):
        read_prompt_file(path)
    assert not trace.exists()
    torch.load(path, weights_only=False) if save is torch.save else pickle.loads(path.read_bytes())
    assert trace.exists()  # the bomb works


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "refused. It is damaged"),
        (b"not a prompt", "refused. It is damaged"),
        (OrderedDict(weights=torch.zeros(2, 3)), "got a dict with the keys 'weights'"),
        (OrderedDict(weight=torch.zeros(6)), r"got \{'weight': a tensor of torch.float32 and shape \(6,\)\}"),
        (OrderedDict(weight=torch.ones(2, 3), old=torch.zeros(2, 3)), "got a dict with the keys 'weight', 'old'"),
        (torch.full((2, 3), 1e30), r"numbers up to 1e\+30"),
        (torch.full((2, 3), 1e-40), "numbers up to 1e-40"),
        (torch.zeros(2, 3, 4), r"got a tensor of torch.float32 and shape \(2, 3, 4\)"),
        (torch.zeros(2, 3, dtype=torch.int64), "got a tensor of torch.int64"),
        (torch.full((2, 3), float("nan")), "expected finite numbers"),
        ([1.0, 2.0], "got a list"),
        (torch.eye(3).to_sparse(), "expected plain numbers in memory, got a torch.sparse_coo tensor"),
        (torch.zeros(2, 3, device="meta"), "expected plain numbers in memory, got a .* on the device 'meta'"),
        (torch.tensor([[1.0, 2.0], [0.0, 0.0]]), r"got zeros as tokens \[1\]"),
        (torch.zeros(0, 3), "expected vectors of a length above zero"),
        (torch.ones(2, 3).to(torch.float8_e4m3fn), "expected numbers of 16 bits or more, got a tensor of torch.float8"),
    ],
)
def test_what_is_no_prompt_is_refused(tmp_path: Path, content: object, said: str) -> None:
    path = tmp_path / "soft_prompt.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(PromptError, match=said) as error:
        read_prompt_file(path)
    assert str(path) in str(error.value)


def test_no_flipped_bit_of_a_prompt_is_read_as_another_prompt(folder: Path, tmp_path: Path) -> None:
    """A byte anywhere in the file is changed: the prompt is refused, or it is what it was (padding of the archive)."""
    original = file_of(folder, "2_model_0", "soft_prompt.pt")
    content, numbers = original.read_bytes(), read_prompt_file(original)
    path, refused = tmp_path / "soft_prompt.pt", 0
    for at in np.random.default_rng(0).integers(0, len(content), 60).tolist():
        changed = bytearray(content)
        changed[at] ^= 0x10
        path.write_bytes(bytes(changed))
        try:
            np.testing.assert_array_equal(read_prompt_file(path), numbers)
        except PromptError:
            refused += 1
    assert refused > 50  # nearly all bytes are numbers


def test_both_forms_of_a_prompt_are_read(tmp_path: Path) -> None:
    matrix = torch.arange(6.0).reshape(2, 3)
    for name, content in {"bare.pt": matrix, "dict.pt": OrderedDict(weight=matrix.to(torch.bfloat16))}.items():
        torch.save(content, tmp_path / name)
        np.testing.assert_array_equal(read_prompt_file(tmp_path / name), matrix.numpy())


def test_a_damaged_prompt_is_named_and_the_other_tables_are_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged, trace = file_of(folder, "1_model_0", "soft_prompt.pt"), tmp_path / "executed"
    damaged.write_bytes(damaged.read_bytes()[:20_000])
    coded = file_of(folder, "5_model_2", "init_soft_prompt.pt")  # no table needs it
    torch.save({"weight": Bomb(trace)}, coded)
    assert main(["tables", "--artifacts", str(folder), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert str(damaged) in said
    assert str(coded) in said
    assert not trace.exists()
    summary = pd.read_csv(tmp_path / "out" / "summary.csv", dtype={"table": str}).set_index("table")
    assert summary.loc["2", ["equal", "differs", "absent"]].tolist() == [24, 0, 30]
    assert summary.loc["10", "equal"] == 80
    absent = pd.read_csv(tmp_path / "out" / "absent.csv", dtype=str)
    assert absent[absent["table"] == "2"]["reason"].str.endswith("was refused").all()


def test_padding_and_line_ends_change_nothing(folder: Path) -> None:
    path = file_of(folder, "2_model_0", EVALUATED)
    plain = read_evaluation(path)
    lines = [[f"  {cell.strip()}\t" for cell in line.split(",")] for line in path.read_text().splitlines()]
    path.write_bytes("\r\n\r\n".join(",".join(line) + ",," for line in lines).encode())
    padded = read_evaluation(path)
    assert padded.models == plain.models == (0, 1)
    for name in ("cosine_vote", "euclidean_vote", "whole_loss", "masked_loss", "shortened_loss"):
        np.testing.assert_array_equal(getattr(padded, name), getattr(plain, name))


def drop_last_column(text: str) -> str:
    return "\n".join(line.rsplit(",", 1)[0] for line in text.strip().splitlines())


def reversed_header(text: str) -> str:
    """Write the names of the columns the other way round, and leave the numbers as they are."""
    first, *rest = text.splitlines()
    name, *cells = first.split(",")
    return "\n".join([",".join([name, *cells[::-1]]), *rest])


def vote(row: str, cell: str) -> Callable[[str], str]:
    """Put *cell* as the first number of a row."""

    def change(text: str) -> str:
        lines = [line.split(",") for line in text.splitlines()]
        for line in lines:
            if line[0].strip() == row:
                line[1] = cell
        return "\n".join(",".join(line) for line in lines)

    return change


def drop(word: str) -> Callable[[str], str]:
    return lambda text: "\n".join(line for line in text.splitlines() if not line.strip().startswith(word))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (MASKED, drop("google/multiberts-seed_1"), r"its name says models \[0, 1\], its rows \[0\]; missing: \[1\]"),
        (MASKED, drop("seed"), "the row 'seed' is missing"),
        (MASKED, lambda text: text.rstrip().rsplit(",", 1)[0], "has 15 numbers, expected 16"),
        (MASKED, lambda text: text.rstrip().rsplit(",", 1)[0] + ",loss", "could not convert string to float: 'loss'"),
        (MASKED, lambda text: text.rstrip().rsplit(",", 1)[0] + ",nan", "not finite"),
        (MASKED, lambda text: text + "\n" + text, "the row 'seed' is there twice"),
        (MASKED, lambda text: text.replace("multiberts-seed_1", "multiberts"), "expected a model's name like"),
        (MASKED, lambda text: "", "the row 'seed' is missing; there are no rows"),
        (MASKED, drop_last_column, "losses without each of 16 tokens"),
        (
            MASKED,
            lambda text: text.replace(",0 ", ",x ", 1).replace(",0,", ",x,", 1),
            "in order as the columns of 'seed'",
        ),
        (MASKED, reversed_header, "in order as the columns of 'seed', got 15, 14"),
        (MASKED, lambda text: text.rstrip().rsplit(",", 1)[0] + ",-0.2", "below zero: -0.2"),
        (MASKED, lambda text: text.rstrip().rsplit(",", 1)[0] + ",1e300", r"holds 1e\+300, expected losses in nats"),
        (EVALUATED, reversed_header, "in order as the columns of 'token id', got 15, 14"),
        (EVALUATED, vote("Cosine assignment", "17"), r"'Cosine assignment' votes for \[17.0\], expected models among"),
        (EVALUATED, vote("Euclidean assignment", "0.7"), r"votes for \[0.7\]"),
        (EVALUATED, vote("One model loss", "9"), "the average of the row 'One model loss'"),
        (EVALUATED, vote("Shortened prompt length", "-1"), "below zero: -1.0"),
        (EVALUATED, lambda text: text.replace("average", "mean"), "expected 'average'"),
        (EVALUATED, vote("Cosine assignment", "0"), "the row 'Cosine accuracy' says"),
        (EVALUATED, vote("Euclidean certanty", "57.1"), "expected shares of the neighbours"),
        (EVALUATED, vote("Euclidean weighted accuracy", "0.1"), "'Euclidean weighted accuracy' says 0.1"),
        (EVALUATED, vote("Euclidean to cosine accuracy", "0.1"), "'Euclidean to cosine accuracy' says 0.1"),
        (MASKED, lambda text: text.rstrip().rsplit(",", 1)[0] + ",1_0", "could not convert string to float"),
        (EVALUATED, drop("One model loss"), "the row 'One model loss' is missing"),
        (EVALUATED, drop("Cosine assignment"), "the row 'Cosine assignment' is missing"),
        (EVALUATED, drop("Prompt compression"), "the row 'Prompt compression' is missing"),
    ],
)
def test_a_damaged_result_file_is_refused(folder: Path, name: str, change: Callable[[str], str], said: str) -> None:
    path = file_of(folder, "2_model_0", name)
    path.write_text(change(path.read_text()))
    artifacts = Artifacts(folder)
    with pytest.raises(AbsentError, match="was refused"):
        artifacts.masked_losses("2_model_0") if name == MASKED else artifacts.evaluation("2_model_0")
    assert list(artifacts.refused) == [path]
    (reason,) = artifacts.refused.values()
    assert re.search(said, reason) and str(path) in reason


def test_prompts_of_another_shape_are_refused_and_so_is_what_nobody_thought_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rows, width in ((8, 768), (16, 512)):
        torch.save(torch.ones(rows, width), file_of(folder, "1_model_0", "soft_prompt.pt"))
        artifacts = Artifacts(folder)
        with pytest.raises(AbsentError, match="was refused"):
            artifacts.prompt("1_model_0")
        assert f"expected 16 x 768 numbers, got others (shape ({rows}, {width}))" in str(artifacts.refused)
    assert artifacts.prompt("1_model_0_sp").shape == (2, 768)
    path = file_of(folder, "1_model_1", "soft_prompt.pt")
    path.unlink()
    with pytest.raises(AbsentError, match="not in the folder"):
        artifacts.prompt("1_model_1")
    path.mkdir()
    with pytest.raises(AbsentError, match="was refused"):
        artifacts.prompt("1_model_1")
    assert artifacts.refused[path] == f"{path}: expected a file, got something else"
    monkeypatch.setattr("recipes.token_splitting.artifacts.read_masked_losses", lambda path: 1 / 0)
    with pytest.raises(AbsentError, match="was refused"):
        artifacts.masked_losses("2_model_0")
    assert "cannot be read (ZeroDivisionError" in str(artifacts.refused)


def test_two_files_of_a_run_that_disagree_are_both_refused(folder: Path) -> None:
    """A cell that was changed to another loss is a CSV file like any other; the other file says what it was."""
    path = file_of(folder, "2_model_0", MASKED)
    cells = path.read_text().split(",")
    path.write_text(",".join([*cells[:-1], "7.5"]))
    artifacts = Artifacts(folder)
    for read in (artifacts.masked_losses, artifacts.evaluation):
        with pytest.raises(AbsentError, match="2_model_0 were refused"):
            read("2_model_0")
    assert "one of the files was changed" in str(artifacts.refused)
    assert artifacts.masked_losses("2_model_1").losses.shape == (2, 16)


def exchanged(text: str, first: int, second: int) -> str:
    """Exchange the numbers of two rows, and leave the first cells where they are."""
    rows = [line.split(",") for line in text.splitlines()]
    rows[first][1:], rows[second][1:] = rows[second][1:], rows[first][1:]
    return "\n".join(map(",".join, rows))


def renamed_columns(text: str) -> str:
    first, *rest = text.splitlines()
    seed, initial, trained, *others = first.split(",")
    return "\n".join([",".join([seed, trained, initial, *others]), *rest])


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("0_1_2_3_4_token_drop_out_test.csv", lambda text: exchanged(text, 1, 2), "are not the 'Loss assignment'"),
        ("val_losses_test.csv", renamed_columns, "'val_loss' of val_losses_test.csv is not the row 'One model loss'"),
        ("val_losses_test.csv", lambda text: exchanged(text, 1, 9), "is not the row 'One model loss'"),
    ],
)
def test_rows_and_columns_under_another_name_are_refused(
    folder: Path, name: str, change: Callable[[str], str], said: str
) -> None:
    path = file_of(folder, "5_model_0", name)
    path.write_text(change(path.read_text()))
    artifacts = Artifacts(folder)
    for read in (artifacts.masked_losses, artifacts.evaluation, artifacts.transfer_losses):
        with pytest.raises(AbsentError, match="5_model_0 were refused"):
            read("5_model_0")
    assert said in str(artifacts.refused)


def test_a_run_that_is_a_copy_of_another_is_refused(folder: Path) -> None:
    shutil.rmtree(folder / RUNS / "5_model_1")
    shutil.copytree(folder / RUNS / "5_model_0", folder / RUNS / "5_model_1")
    artifacts = Artifacts(folder)
    artifacts.evaluation("5_model_0")
    with pytest.raises(AbsentError, match="5_model_1 were refused"):
        artifacts.evaluation("5_model_1")
    assert "are those of 5_model_0" in str(artifacts.refused)


def test_prompts_that_were_exchanged_copied_or_have_equal_tokens_are_refused(folder: Path) -> None:
    trained, initial = (file_of(folder, "1_model_0", f"{name}.pt") for name in ("soft_prompt", "init_soft_prompt"))
    whole, first = trained.read_bytes(), initial.read_bytes()
    start = torch.load(initial, weights_only=True)
    trained.write_bytes(first)
    initial.write_bytes(whole)
    artifacts = Artifacts(folder)
    with pytest.raises(AbsentError, match="1_model_0 were refused"):
        artifacts.prompt("1_model_0")
    assert "it was changed, or exchanged with soft_prompt.pt" in str(artifacts.refused)
    initial.write_bytes(first)
    torch.save({"weight": start[:1].repeat(16, 1)}, trained)
    artifacts = Artifacts(folder)
    with pytest.raises(AbsentError, match="was refused"):
        artifacts.prompt("1_model_0")
    assert "expected 16 tokens of which no two are equal" in artifacts.refused[trained]
    shutil.copy(file_of(folder, "1_model_1", "soft_prompt.pt"), trained)
    artifacts = Artifacts(folder)
    assert artifacts.prompt("1_model_1").shape == (16, 768)
    with pytest.raises(AbsentError, match="1_model_0 were refused"):
        artifacts.prompt("1_model_0")
    assert "soft_prompt.pt is that of 1_model_1" in str(artifacts.refused)
    trained.write_bytes(whole)
    assert Artifacts(folder).prompt("1_model_0").shape == (16, 768)


@pytest.mark.parametrize("name", ["run", "checkpoints", "cfgs", "imdb"])
@pytest.mark.parametrize("kind", ["file", "loop", "nothing"])
def test_what_has_the_place_of_a_folder_is_refused(name: str, kind: str, folder: Path) -> None:
    run = folder / RUNS / "5_model_0"
    place = {"run": run, "checkpoints": run / "checkpoints", "cfgs": folder / "cfgs", "imdb": folder / "cfgs" / "imdb"}
    path = place[name]
    shutil.rmtree(path)
    if kind == "file":
        path.write_text("a folder that was copied as a file")
    else:
        path.symlink_to(path if kind == "loop" else path / "nowhere")
    artifacts = Artifacts(folder)
    with pytest.raises(AbsentError, match=f"{path.name} was refused"):
        artifacts.masked_losses("5_model_0") if path.is_relative_to(run) else artifacts.one_losses("IMDb")
    got = "something else" if kind == "file" else "a link to nothing"
    assert artifacts.refused == {path: f"{path}: expected a folder, got {got}"}


def test_a_changed_number_is_not_explained_by_what_was_said_of_the_right_one(folder: Path, tmp_path: Path) -> None:
    path = file_of(folder, "5_model_0", "val_losses_test.csv")
    path.write_text(path.read_text().replace("11.594599723815918", "11.504599723815918"))
    main(["tables", "--artifacts", str(folder), "--out", str(tmp_path / "out")])
    table = pd.read_csv(tmp_path / "out" / "explanations.csv", dtype=str, keep_default_na=False)
    assert table[table["table"] == "8"][["row", "explanation"]].values.tolist() == [["17", "unexplained"]]


def test_files_that_are_none_of_the_runs(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What systems write beside files is passed over; two files of one kind, links to nothing, no runs are refused."""
    masked = file_of(folder, "5_model_0", "0_1_2_3_4_token_drop_out_test.csv")
    (masked.parent / f"._{masked.name}").write_bytes(b"\0")
    shutil.copytree(folder / RUNS / "5_model_0", folder / RUNS / ".ipynb_checkpoints")
    artifacts = Artifacts(folder)
    assert artifacts.masked_losses("5_model_0").losses.shape == (5, 16)
    assert ".ipynb_checkpoints" not in artifacts.runs()
    shutil.copy(masked, masked.parent / "5_6_7_8_9_token_drop_out_test.csv")
    link = file_of(folder, "5_model_2", "soft_prompt.pt")
    link.unlink()
    link.symlink_to(tmp_path / "nowhere")
    shutil.rmtree(folder / RUNS / "2_model_4")
    (folder / RUNS / "2_model_4").write_text("a link that was copied as text")
    for run, read in {"5_model_0": "masked_losses", "5_model_2": "prompt", "2_model_4": "evaluation"}.items():
        with pytest.raises(AbsentError):
            getattr(artifacts, read)(run)
    said = str(artifacts.refused)
    assert "which of them is the run's?" in said and "got a link to nothing" in said and "expected a folder" in said
    shutil.rmtree(folder / RUNS)
    (folder / RUNS).mkdir()
    assert main(["tables", "--artifacts", str(folder), "--out", str(tmp_path / "out")]) == 1
    assert "expected a folder with checkpoints for each run, got none" in capsys.readouterr().err


def test_a_model_twice_or_too_many_and_means_of_other_numbers(folder: Path) -> None:
    transfer = file_of(folder, "5_model_0", "val_losses_test.csv")
    ones = folder / "cfgs" / "imdb" / "1_models" / "one_losses.csv"
    for path, more, read in (
        (transfer, "other/multiberts-seed_3,9,9,No", read_transfer_losses),
        (ones, "03,0.9", read_one_losses),
        (ones, "25,0.9", read_one_losses),
    ):
        whole = path.read_text()
        path.write_text(f"{whole.rstrip()}\n{more}\n")
        with pytest.raises(RunError, match=r"each once; missing: \[\], twice or unknown: \["):
            read(path)  # type: ignore[operator]
        path.write_text(whole)
    text = ones.read_text()
    ones.write_text(text.replace("0.27502569556236267", "0.97502569556236267"))
    with pytest.raises(RunError, match=r"the row 'mean' says 0\.3598, and the losses have 0\.3878"):
        read_one_losses(ones)
    ones.write_text(text.replace("model_number ,val_loss", "model_number,val_loss,val_loss"))
    with pytest.raises(RunError, match="two columns are called 'val_loss'"):
        read_one_losses(ones)
    ones.write_text(text.replace("mean ", "x "))
    with pytest.raises(RunError, match="mean and std as first cells, got x"):
        read_one_losses(ones)


def test_lists_of_all_models_have_to_be_whole(folder: Path) -> None:
    transfer = file_of(folder, "5_model_0", "val_losses_test.csv")
    transfer.write_text(drop("google/multiberts-seed_7 ")(transfer.read_text()))
    with pytest.raises(RunError, match=r"missing: \[7\]"):
        read_transfer_losses(transfer)
    ones = folder / "cfgs" / "imdb" / "1_models" / "one_losses.csv"
    ones.write_text(drop("24")(ones.read_text()))
    with pytest.raises(RunError, match=r"missing: \[24\]"):
        read_one_losses(ones)
    ones.write_text(ones.read_text().replace("val_loss", "loss"))
    with pytest.raises(RunError, match="expected a column 'val_loss', got loss"):
        read_one_losses(ones)
    ones.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunError, match="not a CSV file"):
        read_one_losses(ones)


def test_results_for_other_models_than_the_runs_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two, five = (folder / RUNS / run / "checkpoints" for run in ("2_model_0", "5_model_0"))
    next(five.glob("*_token_drop_out_test.csv")).unlink()
    shutil.copy(two / MASKED, five / MASKED)
    assert main(["tables", "--artifacts", str(folder), "--out", str(tmp_path / "out")]) == 1
    assert f"{five.parent}: expected results for 5 models, got [0, 1]" in capsys.readouterr().err
    for table, lines in (("10", 80), ("5", 18)):
        assert pd.read_csv(tmp_path / "out" / f"table_{table}.csv")["computed"].isna().sum() == lines


def test_another_folder_is_refused_with_what_was_expected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tables", "--artifacts", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "expected the authors' folder, with logs/explainable-soft-prompts/<run>/checkpoints" in said
    assert not (tmp_path / "out").exists()
