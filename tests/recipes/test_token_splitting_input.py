"""Files that are damaged, incomplete or dangerous: refused by name, never executed; padded ones are read."""

import os
import pickle
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
    read_masked_losses,
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
        (OrderedDict(weight=torch.zeros(6)), "got a dict with the keys 'weight'"),
        (torch.zeros(2, 3, 4), r"got a tensor of torch.float32 and shape \(2, 3, 4\)"),
        (torch.zeros(2, 3, dtype=torch.int64), "got a tensor of torch.int64"),
        (torch.full((2, 3), float("nan")), "expected finite numbers"),
        ([1.0, 2.0], "got a list"),
    ],
)
def test_what_is_no_prompt_is_refused(tmp_path: Path, content: object, said: str) -> None:
    path = tmp_path / "soft_prompt.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(PromptError, match=said) as error:
        read_prompt_file(path)
    assert str(path) in str(error.value)


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
        (EVALUATED, drop("One model loss"), "the row 'One model loss' is missing"),
        (EVALUATED, drop("Cosine assignment"), "the row 'Cosine assignment' is missing"),
        (EVALUATED, drop("Prompt compression"), "the row 'Prompt compression' is missing"),
    ],
)
def test_a_damaged_result_file_is_refused(folder: Path, name: str, change: Callable[[str], str], said: str) -> None:
    path = file_of(folder, "2_model_0", name)
    path.write_text(change(path.read_text()))
    read = read_masked_losses if name == MASKED else read_evaluation
    with pytest.raises(RunError, match=said) as error:
        read(path)
    assert str(path) in str(error.value)
    artifacts = Artifacts(folder)
    with pytest.raises(AbsentError, match="was refused"):
        artifacts.masked_losses("2_model_0") if name == MASKED else artifacts.evaluation("2_model_0")
    assert list(artifacts.refused) == [path]


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
