"""Peak memory of a run, and a control that says why it was not run."""

import sys
from pathlib import Path

import pytest
import torch

from benchmarks.control import run_control
from benchmarks.hardware import describe, gemm_gflops
from benchmarks.memory import peak_mb


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("mb", [64, 256])
def test_peak_is_seen_though_it_is_freed(mb: int) -> None:
    def run() -> str:
        torch.ones(mb * 1_000_000 // 4)
        return "done"

    result, peak = peak_mb(run, "cpu")
    assert result == "done"
    if peak is None:
        pytest.skip("this system does not let a process reset its peak")
    assert mb - 8 < peak < mb + 32
    _, nothing = peak_mb(lambda: None, "cpu")
    assert nothing is not None and nothing < 16  # the peak before is not taken for this run's


def test_control_without_a_compiler_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    said = run_control(["--quick"], tmp_path)
    assert isinstance(said, str) and "compiler" in said


@pytest.mark.slow
def test_control_that_fails_says_so(tmp_path: Path) -> None:
    said = run_control(["--cases", "no-such-case"], tmp_path)
    assert isinstance(said, str) and said.startswith("not run")


def test_machine() -> None:
    about = describe("cpu")
    assert about["threads"] == torch.get_num_threads() and about["cpu"]
    assert all(rate > 0.1 for rate in gemm_gflops("cpu", seconds=0.01).values())
