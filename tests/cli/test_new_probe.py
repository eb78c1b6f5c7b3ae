"""`promptscope new-probe` writes files that run as they are; `promptscope probe --import` takes them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import promptscope as ps
from tests.cli.conftest import run_command


@pytest.fixture
def written(tmp_path):
    done = run_command("new-probe", "norm_growth", "--folder", tmp_path)
    assert done.exit_code == 0, done.output
    return tmp_path


@pytest.mark.slow
def test_both_files_run_as_written(written):
    root = Path(ps.__file__).resolve().parents[1]
    paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_norm_growth.py"],
        cwd=written,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout + done.stderr


def test_the_command_line_runs_it(written, workplace, tmp_path, monkeypatch):
    monkeypatch.chdir(workplace)
    try:
        done = run_command(
            *("probe", "runs/v1", "--probes", "norm_growth", "--import", written / "norm_growth.py"),
            *("--out", tmp_path / "out", "--limit", 3, "--json"),
        )
    finally:
        ps.probes.PROBES.remove("norm_growth")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["probes"]["norm_growth"]["dims"] == {"prompt": 2, "layer": 3}


@pytest.mark.parametrize(
    ("name", "message"),
    [("Norm Growth", "small letters"), ("class", "small letters"), ("attention_kl", "exists already")],
)
def test_names_that_cannot_be(name, message, tmp_path):
    done = run_command("new-probe", name, "--folder", tmp_path)
    assert done.exit_code == 2 and message in done.output
    assert not list(tmp_path.iterdir())


def test_files_are_not_overwritten(written):
    done = run_command("new-probe", "norm_growth", "--folder", written)
    assert done.exit_code == 2 and "exists already" in done.output
