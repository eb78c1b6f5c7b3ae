"""A process that probes a tiny model: `python -m tests.probes.probing_process STORE OUT [KILL_AT]`.

Writes the number of its forward passes and the result to OUT; with KILL_AT it dies in that pass, as by `kill -9`.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

import promptscope as ps
from promptscope.probes import AttentionKL, AttentionVariability, probe
from promptscope.store import ActivationStore
from tests.probe_inputs import counting, encoded

LENGTHS = (7, 4, 12, 11, 10, 3, 15, 9)


def main(store: str, out: str, kill_at: int | None = None) -> None:
    """Probe with shards of two inputs, one input a pass: plain and one prompt, 16 passes."""
    torch.set_num_threads(1)
    model, passes = counting()
    forward = model.forward_hooked

    def maybe_die(*arguments, **options):
        if kill_at is not None and len(passes) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return forward(*arguments, **options)

    model.forward_hooked = maybe_die
    results = probe(
        model,
        {"v1": ps.SoftPrompt(4)},
        encoded(LENGTHS),
        [AttentionKL(), AttentionKL("per_query"), AttentionVariability(5)],
        store=ActivationStore(store, shard_size=2),
        batch_size=1,
    )
    numbers = {name: result.values.values.tolist() for name, result in results.items()}
    Path(out).write_text(json.dumps({"passes": len(passes), "results": numbers}))


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
