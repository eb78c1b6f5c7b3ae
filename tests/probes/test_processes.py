"""The store under kill -9 and under two processes at once."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.probes import probing_process

ROOT = Path(__file__).resolve().parents[2]
PASSES = 2 * len(probing_process.LENGTHS)  # plain and v1, one input each


def start(*arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.probes.probing_process", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def same_numbers(first: dict, second: dict) -> None:
    assert first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])


def test_killed_and_started_again(tmp_path):
    killed = start(tmp_path / "store", tmp_path / "killed.json", 10)  # in the third of four shards
    killed.communicate(timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed.json").exists()
    probing_process.main(str(tmp_path / "store"), str(tmp_path / "resumed.json"))
    probing_process.main(str(tmp_path / "fresh"), str(tmp_path / "whole.json"))
    resumed, whole = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("resumed", "whole"))
    assert whole["passes"] == PASSES
    assert resumed["passes"] == PASSES - 8  # the two shards that were finished are not run again
    same_numbers(resumed["results"], whole["results"])


def test_two_processes_at_once_share_the_work(tmp_path):
    both = [start(tmp_path / "store", tmp_path / f"{name}.json") for name in ("a", "b")]
    for process in both:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    a, b = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("a", "b"))
    assert sorted([a["passes"], b["passes"]]) == [0, PASSES]  # one computes, the other waits and reads
    same_numbers(a["results"], b["results"])
