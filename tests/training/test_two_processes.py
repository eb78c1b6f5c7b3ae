"""Two fresh processes of one config give the same bits: no clock, address or hash of strings decides anything."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import torch
import promptscope as ps

torch.set_num_threads(1)
kind = sys.argv[1]
name = {"masked": "embedded-masked-0", "seq2seq": "embedded-seq2seq"}.get(kind, "embedded-causal")
model, task = ps.load_model(name), ps.load_task("capital_en" if kind == "seq2seq" else "continent_en")
config = ps.TrainConfig(steps=4, batch_size=6, learning_rate=0.05, seed=3)
made = {
    "v1": lambda: ps.SoftPrompt(4, seed=1),
    "v2": lambda: ps.DeepPrompt(3, seed=1),
    "one layer": lambda: ps.DeepPrompt(3, layers=[2], seed=1),
    "masked": lambda: ps.SoftPrompt(4, seed=1),
    "seq2seq": lambda: ps.SoftPrompt(4, seed=1),
}
if kind in made:
    prompts = [ps.train(model, made[kind](), task, config, progress=False).prompt]
elif kind == "grid":
    runs = {str(i): ps.GridRun(ps.SoftPrompt(2 + i, seed=i), task, config) for i in range(3)}
    prompts = [run.prompt for run in ps.train_grid(model, runs, progress=False).values()]
elif kind == "across":
    other = ps.load_model("embedded-masked-1")
    first = ps.load_model("embedded-masked-0")
    prompts = [ps.train_across([first, other], ps.SoftPrompt(4, seed=1), task, config, progress=False).prompt]
else:
    networks = {
        "mlp": ps.reparameterise.Mlp,
        "lstm": ps.reparameterise.Lstm,
        "residual": ps.reparameterise.Residual,
        "ept": ps.reparameterise.UnderParameterised,
    }
    prompt = ps.SoftPrompt(4, seed=1, reparameterisation=networks[kind]())
    prompts = [ps.train(model, prompt, task, config, progress=False).prompt]
scores = [ps.evaluate(model, p, task, limit=12, progress=False)["loss"] for p in prompts] if kind != "across" else []
print([p.content_hash() for p in prompts], [value.hex() for value in map(float, scores)])
"""
KINDS = ["v1", "v2", "one layer", "masked", "seq2seq", "grid", "across", "mlp", "lstm", "residual", "ept"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_give_the_same_bits(kind: str) -> None:
    said = []
    for salt in ("1", "2"):  # of Python's hashes of strings, which order sets
        environment = os.environ | {"PYTHONHASHSEED": salt}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, kind], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        said.append(done.stdout.strip().splitlines()[-1])
    assert said[0] == said[1]
    assert len(said[0]) > 20
