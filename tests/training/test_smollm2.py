"""A real model on real data: a prompt learns, and a killed run goes on bit for bit."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import promptscope as ps

SCRIPT = """
import sys, torch
torch.set_num_threads(1)
import promptscope as ps
model, data, out = sys.argv[1:]
task = ps.load_task("sst2", path=data)
config = ps.TrainConfig(steps=40, batch_size=4, learning_rate=0.01, max_length=48, checkpoint_every=3,
                        evaluate_every=20, evaluate_limit=8, seed=1)
ps.train(ps.load_model(model), ps.DeepPrompt(length=8, seed=0), task, config, out=out, progress=False)
"""


def start(model: Path, data: Path, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(model), str(data), str(out)])


@pytest.mark.slow
def test_learns_and_survives_being_killed(smollm2: Path, shared_data: Path, tmp_path: Path) -> None:
    data = shared_data / "sst2"
    assert start(smollm2, data, tmp_path / "whole").wait() == 0
    whole = ps.load_run(tmp_path / "whole")
    assert whole.history["loss"][-10:].mean() < 0.5 * whole.history["loss"][:10].mean()

    killed, checkpoint = tmp_path / "killed", tmp_path / "killed" / "checkpoint.safetensors"
    kills = 0
    for pause in (0.0, 2.0, 5.0):  # after the first file of the attempt, and at two arbitrary moments later
        process, before = start(smollm2, data, killed), checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None and not (checkpoint.exists() and checkpoint.stat().st_mtime_ns > before):
            time.sleep(0.01)
        time.sleep(pause)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
    assert kills == 3
    with pytest.raises(ps.RunError, match="not finished"):
        ps.load_run(killed)
    assert start(smollm2, data, killed).wait() == 0
    for name in ("last", "best"):
        paths = [folder / "prompts" / name / "prompt.safetensors" for folder in (whole.folder, killed)]
        assert paths[0].read_bytes() == paths[1].read_bytes()
    pd.testing.assert_frame_equal(
        ps.load_run(killed).history.drop(columns="seconds"), whole.history.drop(columns="seconds"), check_exact=True
    )

    task, model = ps.load_task("sst2", path=data), ps.load_model(smollm2)
    frozen = ps.evaluate(model, None, task, limit=48, max_length=48, progress=False)
    trained = ps.evaluate(model, whole.prompt, task, limit=48, max_length=48, progress=False)
    assert trained["loss"] < 0.5 * frozen["loss"]
    assert np.isfinite(trained["accuracy"])
